# jan/12/2024 03:10:09 by RouterOS 6.49.10
# software id = 7K2M-QX4D
#
# model = RB750Gr3
# serial number = CC210A7B11F0
/ip firewall address-list
add address=198.51.100.4 comment="head office" list=noc
add address=192.0.2.140 comment="port scan 9 Jan" list=blocked
add address=198.51.100.5 list=noc
add address=updates.example.net list=allowed-out
/ip firewall raw
add action=drop chain=prerouting src-address-list=blocked
