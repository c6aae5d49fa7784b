# 2024-05-02 03:10:04 by RouterOS 7.14.3
# software id = PW3E-0ZRT
#
# model = C53UiG+5HPaxD2HPaxD
# serial number = HE508JK31QA
/interface wireguard
add listen-port=13231 mtu=1420 name=wg-hq private-key=\
    "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVowMTIzNDU="
/interface wireguard peers
add allowed-address=10.8.0.2/32 comment="laptop of the field team" interface=\
    wg-hq preshared-key="MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=" \
    public-key="YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXowMTIzNDU="
add allowed-address=10.8.0.3/32 interface=wg-hq public-key=\
    "enl4d3Z1dHNycXBvbm1sa2ppaGdmZWRjYmEwMTIzNDU="
