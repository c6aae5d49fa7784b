# jan/12/2024 03:10:09 by RouterOS 6.49.10
# software id = 7K2M-QX4D
#
# model = RB750Gr3
# serial number = CC210A7B11F0
/system script
add dont-require-permissions=no name=upload owner=admin policy=\
    ftp,read,write,sensitive source="# nightly copy to the file server\r\
    \n:local pass \"Bittern-7788\"\r\
    \n/export file=nightly\r\
    \n/tool fetch upload=yes mode=ftp address=10.0.0.5 user=mt password=\$pass src-\
    path=nightly.rsc\r\
    \n:delay 5s\r\
    \n:log info \"copied to the file server\""
add dont-require-permissions=no name=notify owner=admin policy=read,test source="/\
    tool fetch url=\"https://ops:Curlew-89@hooks.example.net/x\" output=none"
