# 2024-05-02 03:10:04 by RouterOS 7.14.3
# software id = PW3E-0ZRT
#
# model = C53UiG+5HPaxD2HPaxD
# serial number = HE508JK31QA
/ip firewall nat
add action=masquerade chain=srcnat comment="out to the internet" \
    out-interface-list=WAN
add action=dst-nat chain=dstnat comment="camera recorder" dst-port=8443 \
    in-interface-list=WAN protocol=tcp to-addresses=192.168.40.9 to-ports=443
add action=dst-nat chain=dstnat dst-port=5060 in-interface-list=WAN protocol=udp \
    to-addresses=192.168.40.20
