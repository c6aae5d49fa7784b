# 2024-05-02 03:10:04 by RouterOS 7.12.1
# software id = PW3E-0ZRT
#
# model = C53UiG+5HPaxD2HPaxD
# serial number = HE508JK31QA
/interface bridge
add name=bridge
/interface wifiwave2 security
add authentication-types=wpa2-psk name=office passphrase=tern-and-gull
/interface wifiwave2
set [ find default-name=wifi1 ] configuration.ssid=Office disabled=no security=\
    office
set [ find default-name=wifi2 ] configuration.ssid=Guests disabled=no security=\
    office
/ip neighbor discovery-settings
set discover-interface-list=LAN
