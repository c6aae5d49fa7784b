# jan/11/2024 03:10:04 by RouterOS 6.49.10
# software id = 7K2M-QX4D
#
# model = RB750Gr3
# serial number = CC210A7B11F0
/ppp profile
add local-address=10.99.0.1 name=road remote-address=vpn-pool
/ppp secret
add name=alice password="Kestrel \"42\" \$" profile=road service=l2tp
add name=bob password=Wren-7781 profile=road service=l2tp
