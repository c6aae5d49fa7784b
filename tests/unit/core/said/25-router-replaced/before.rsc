# 2024-05-02 03:10:04 by RouterOS 7.14.3
# software id = PW3E-0ZRT
#
# model = C53UiG+5HPaxD2HPaxD
# serial number = HE508JK31QA
/ip cloud set ddns-enabled=yes
/system identity set name=shop-03
/system note set note="call 555-0100 before touching"
