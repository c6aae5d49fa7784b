# jan/11/2024 03:10:04 by RouterOS 6.49.10
# software id = 7K2M-QX4D
#
# model = RB750Gr3
# serial number = CC210A7B11F0
/ip firewall filter
add action=accept chain=input comment="\D0\94\D0\BE\D1\81\D1\82\D1\83\D0\BF" \
    dst-port=22 protocol=tcp
add action=drop chain=input comment="\C7\E0\EA\F0\FB\F2\EE"
/interface ethernet
set [ find default-name=ether2 ] comment="B\C3\BCro 2. Stock"
