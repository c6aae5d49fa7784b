# jan/12/2024 03:10:09 by RouterOS 6.49.10
# software id = 7K2M-QX4D
#
# model = RB750Gr3
# serial number = CC210A7B11F0
/ip firewall filter
add action=accept chain=input comment="vendor support" dst-port=22 \
    protocol=tcp
add action=accept chain=input comment="branch vpn" disabled=yes dst-port=500,4500 protocol=udp
add action=drop chain=input comment="drop the rest" in-interface=ether1
