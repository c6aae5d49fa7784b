# jan/11/2024 03:10:04 by RouterOS 6.49.10
# software id = 7K2M-QX4D
#
# model = RB750Gr3
# serial number = CC210A7B11F0
/queue simple
add max-limit=20M/20M name=voice priority=1/1 target=10.20.30.0/24
add max-limit=50M/50M name=office target=10.20.0.0/24
add max-limit=5M/5M name=guests target=10.20.40.0/24
add max-limit=100M/100M name=rest target=10.20.0.0/16
/queue tree
add max-limit=90M name=uplink parent=ether1
