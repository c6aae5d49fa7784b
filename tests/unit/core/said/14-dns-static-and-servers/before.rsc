# 2024-05-02 03:10:04 by RouterOS 7.14.3
# software id = PW3E-0ZRT
#
# model = C53UiG+5HPaxD2HPaxD
# serial number = HE508JK31QA
/ip dns
set allow-remote-requests=yes servers=1.1.1.1,8.8.8.8
/ip dns static
add address=192.168.88.1 name=router.lan
add address=192.168.88.9 comment="the old one" name=nas.lan
add cname=nas.lan name=files.lan type=CNAME
