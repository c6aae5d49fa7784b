# jan/12/2024 03:10:09 by RouterOS 6.49.10
# software id = 7K2M-QX4D
#
# model = RB750Gr3
# serial number = CC210A7B11F0
/interface ethernet
set [ find default-name=ether1 ] name=wan-fiber
set [ find default-name=ether5 ] comment="to switch" name=ether5-trunk
/interface vlan
add interface=ether5-trunk name=vlan30-voice vlan-id=30
/ip dhcp-client
add disabled=no interface=wan-fiber
