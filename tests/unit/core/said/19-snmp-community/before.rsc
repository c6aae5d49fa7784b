# jan/11/2024 03:10:04 by RouterOS 6.49.10
# software id = 7K2M-QX4D
#
# model = RB750Gr3
# serial number = CC210A7B11F0
/snmp community
set [ find default=yes ] addresses=10.5.0.0/24 name=st4rling
add addresses=10.5.0.9/32 comment=billing name=m4gpie security=authorized
/snmp
set contact=noc@example.net enabled=yes location="rack 4" trap-community=st4rling \
    trap-version=2
