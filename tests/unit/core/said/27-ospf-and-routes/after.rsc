# 2024-05-03 03:10:11 by RouterOS 7.14.3
# software id = PW3E-0ZRT
#
# model = C53UiG+5HPaxD2HPaxD
# serial number = HE508JK31QA
/routing ospf instance
add disabled=no name=core router-id=10.255.0.33
/routing ospf area
add disabled=no instance=core name=backbone
/routing ospf interface-template
add area=backbone auth=md5 auth-key=Dunlin-13 cost=100 disabled=no interfaces=sfp1 \
    networks=172.16.5.0/30
add area=backbone disabled=no interfaces=bridge passive
/ip route
add comment="to head office" dst-address=10.0.0.0/8 gateway=172.16.5.1
add dst-address=0.0.0.0/0 gateway=203.0.113.254
add dst-address=10.66.0.0/16 distance=5 gateway=172.16.5.9
