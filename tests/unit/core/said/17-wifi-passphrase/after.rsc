# 2024-05-03 03:10:11 by RouterOS 7.14.3
# software id = PW3E-0ZRT
#
# model = C53UiG+5HPaxD2HPaxD
# serial number = HE508JK31QA
/interface wifi
set [ find default-name=wifi1 ] channel.band=5ghz-ax .width=20/40/80mhz \
    configuration.country=Latvia .mode=ap .ssid=Office disabled=no \
    security.authentication-types=wpa2-psk,wpa3-psk .passphrase=puffin-and-skua
set [ find default-name=wifi2 ] configuration.mode=ap .ssid=Visitors disabled=no \
    security.authentication-types=wpa2-psk .passphrase="welcome guests"
