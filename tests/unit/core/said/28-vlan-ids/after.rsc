# 2024-05-03 03:10:11 by RouterOS 7.14.3
# software id = PW3E-0ZRT
#
# model = C53UiG+5HPaxD2HPaxD
# serial number = HE508JK31QA
/interface vlan add interface=bridge name=vlan10 vlan-id=10
/interface vlan add interface=bridge name=vlan20 vlan-id=21
/interface bridge vlan add bridge=bridge tagged=bridge,sfp1 untagged=ether2,ether3 vlan-ids=10
/interface bridge vlan add bridge=bridge tagged=bridge,sfp1 vlan-ids=20,21,22
