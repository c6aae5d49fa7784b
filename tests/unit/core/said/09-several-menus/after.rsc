# 2024-05-03 03:10:11 by RouterOS 7.14.3
# software id = PW3E-0ZRT
#
# model = C53UiG+5HPaxD2HPaxD
# serial number = HE508JK31QA
/interface bridge
add name=bridge-lan
/ip pool
add name=dhcp-lan ranges=10.20.0.50-10.20.0.199
/ip dhcp-server
add address-pool=dhcp-lan interface=bridge-lan name=lan
/ip dhcp-server network
add address=10.20.0.0/24 dns-server=10.20.0.1 domain=branch.example \
    gateway=10.20.0.1
/ip dns
set allow-remote-requests=yes servers=9.9.9.9
/system clock
set time-zone-name=Europe/Vilnius
/system ntp client
set enabled=yes
/system ntp client servers
add address=ntp1.example.net
add address=ntp2.example.net
