# jan/11/2024 03:10:04 by RouterOS 6.49.10
# software id = 7K2M-QX4D
#
# model = RB750Gr3
# serial number = CC210A7B11F0
/interface wireless
# managed by CAPsMAN
# channel: 2412/20/gn(17dBm), SSID: Office, CAPsMAN forwarding
set [ find default-name=wlan1 ] disabled=no ssid=Office
/ip firewall nat
# pppoe-out1 not ready
add action=masquerade chain=srcnat comment="everything that leaves by the fibre line" \
    out-interface=pppoe-out1
/ip firewall filter add action=accept chain=input protocol=icmp
/ip firewall filter add action=drop chain=input in-interface=pppoe-out1
