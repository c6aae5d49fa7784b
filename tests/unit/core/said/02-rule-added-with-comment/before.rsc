# 2024-05-02 03:10:04 by RouterOS 7.14.3
# software id = PW3E-0ZRT
#
# model = C53UiG+5HPaxD2HPaxD
# serial number = HE508JK31QA
/ip firewall filter
add action=accept chain=input comment="established, related" connection-state=\
    established,related,untracked
add action=drop chain=input comment="drop invalid" connection-state=invalid
add action=accept chain=input comment="allow winbox" dst-port=8291 protocol=tcp \
    src-address=10.0.0.0/8
add action=accept chain=input comment="allow ping" protocol=icmp
add action=drop chain=input comment="drop the rest"
/ip service
set telnet disabled=yes
set ftp disabled=yes
