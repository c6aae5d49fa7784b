# 2024-05-02 03:10:04 by RouterOS 7.14.3
# software id = PW3E-0ZRT
#
# model = C53UiG+5HPaxD2HPaxD
# serial number = HE508JK31QA
/ip dhcp-server lease
add address=192.168.88.20 client-id=1:2:0:5e:10:0:1 comment="till 1" mac-address=\
    02:00:5E:10:00:01 server=lan
add address=192.168.88.21 mac-address=02:00:5E:10:00:02 server=lan
