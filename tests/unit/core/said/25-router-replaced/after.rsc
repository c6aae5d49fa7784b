# 2024-05-03 03:10:11 by RouterOS 7.14.3
# software id = 9DLC-VU6A
#
# model = C53UiG+5HPaxD2HPaxD
# serial number = HF209MN55TB
/ip cloud set ddns-enabled=yes
/system identity set name=shop-03
/system note set note="call 555-0100 before touching"
