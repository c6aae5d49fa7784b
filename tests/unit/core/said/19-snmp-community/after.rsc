# jan/12/2024 03:10:09 by RouterOS 6.49.10
# software id = 7K2M-QX4D
#
# model = RB750Gr3
# serial number = CC210A7B11F0
/snmp community
set [ find default=yes ] addresses=10.5.0.0/24 name=g0ldfinch
add addresses=10.5.0.9/32 comment=billing name=m4gpie security=authorized
/snmp
set contact=noc@example.net enabled=yes location="rack 7" trap-community=g0ldfinch \
    trap-version=2
