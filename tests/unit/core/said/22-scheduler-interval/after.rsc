# jan/12/2024 03:10:09 by RouterOS 6.49.10
# software id = 7K2M-QX4D
#
# model = RB750Gr3
# serial number = CC210A7B11F0
/system scheduler
add interval=12h name=nightly on-event="/system script run upload-all" policy=\
    ftp,read,write,sensitive start-date=jan/01/2024 start-time=03:00:00
