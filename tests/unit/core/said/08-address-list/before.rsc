# jan/11/2024 03:10:04 by RouterOS 6.49.10
# software id = 7K2M-QX4D
#
# model = RB750Gr3
# serial number = CC210A7B11F0
/ip firewall address-list
add address=198.51.100.4 comment="head office" list=noc
add address=203.0.113.0/24 list=blocked
add address=192.0.2.77 comment="port scan 3 Jan" list=blocked
add address=updates.example.net list=allowed-out
/ip firewall raw
add action=drop chain=prerouting src-address-list=blocked
