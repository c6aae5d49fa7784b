# jan/12/2024 03:10:09 by RouterOS 6.49.10
# software id = 7K2M-QX4D
#
# model = RB750Gr3
# serial number = CC210A7B11F0
/interface bridge add name=lan protocol-mode=none
/ip address add address=192.168.20.1/24 interface=lan network=192.168.20.0
/ip firewall filter add action=accept chain=forward connection-state=established,related
/ip firewall filter add action=drop chain=forward connection-state=invalid
/ip firewall nat add action=masquerade chain=srcnat out-interface=ether1
/system identity set name=shop-03
