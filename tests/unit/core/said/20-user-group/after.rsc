# 2024-05-03 03:10:11 by RouterOS 7.14.3
# software id = PW3E-0ZRT
#
# model = C53UiG+5HPaxD2HPaxD
# serial number = HE508JK31QA
/user group
add name=noc policy="ssh,read,test,winbox,web,!local,!telnet,!ftp,reboot,write,!\
    policy,!password,!sniff,!sensitive,!api,!romon,!rest-api"
/user aaa
set use-radius=yes
