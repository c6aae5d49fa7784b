# 2024-05-03 03:10:11 by RouterOS 7.14.3
# software id = PW3E-0ZRT
#
# model = C53UiG+5HPaxD2HPaxD
# serial number = HE508JK31QA
/interface bridge
add name=bridge port-cost-mode=short
/interface wifi security
add authentication-types=wpa2-psk name=office passphrase=tern-and-gull
/interface wifi
set [ find default-name=wifi1 ] configuration.ssid=Office disabled=no security=\
    office
set [ find default-name=wifi2 ] configuration.ssid=Visitors disabled=no security=\
    office
/ip neighbor discovery-settings
set discover-interface-list=LAN
/ipv6 settings
set max-neighbor-entries=14336
