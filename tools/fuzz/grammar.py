"""What RouterOS writes, as seeds and tokens for the fuzzer; written by hand, of no real router."""

from __future__ import annotations

from typing import Final

_V6: Final = b"# jan/02/2024 10:30:00 by RouterOS 6.49.10\r\n# software id = AAAA-BBBB\r\n#\r\n# model = RB750\r\n"
_V7: Final = b"# 2024-01-15 10:30:00 by RouterOS 7.14\n# system id = Qx/y+0\n#\n"

EXPORTS: Final = (
    b"",
    b"\n",
    b"/\n",
    b"\\",
    b'"',
    _V6 + b"# serial number = 0123456789AB\r\n/interface bridge\r\nadd name=bridge1\r\n",
    _V7 + b"/ip address\nadd address=192.0.2.1/24 interface=ether1\n/system identity\nset name=core\n",
    _V7 + b"/interface ethernet\n# poe-out status: short_circuit\nset [ find default-name=ether2 ] comment=x\n",
    b'# by RouterOS 7.18\n/ip firewall filter add action=drop chain=input comment="a \\\n    b\\_c" \\\n    log=yes\n',
    _V7 + b'/system script\nadd name=s source=":put \\"x\\"\\r\\\n    \\n# no comment\\n:local a \\$b"\n',
    _V7 + b"#error exporting /ip socks\n/interface wifi\nset [ find ] configuration.country=Spain .mode=ap !comment\n",
    _V7 + b"/ip socks\nset enabled=yes\n#interrupted\n",
    b"\xef\xbb\xbf\x1b[m\x1b[Kwelcome\r\n\r\n" + _V6 + b"/ip dns\nset servers=192.0.2.53\n",
    b"expected end of command (line 1 column 9)\r\n",
    b"bad command name export (line 1 column 1)\n",
    b"not enough permissions (9)\n",
    _V7 + b'/user\nadd name="\\CF\\EE\\E9" password="\\7F\\?\\a\\b\\f\\v\\t" group=full\n',
    _V7 + b"/queue simple\n" + b"add name=q target=192.0.2.7\n" * 20,
    _V7 + b"/ip route\nadd disabled=no dst-address=0.0.0.0/0 gateway=*8 blackhole\nremove [ find comment=[ a ] ]\n",
    b"<<<<<<< HEAD\n" + _V7 + b"=======\n/ip address\nadd \n",
    b"/a\n" + b"#\n" * 30 + b"add x=" + b"\\\n" * 30 + b"y\n",
    b"/a\nadd " + b"[ " * 40 + b"]" * 40 + b' k="' + b"\\\\" * 40 + b'"\n',
    b"\x00\x07\x1b]0;title\x07\xe2\x80\xae/a\nadd\n",
    b"<html><body>404</body></html>\n",
    b"/ip add/ip\nadd x=1\n/ip/set/ip\n/ip add\n",  # verbs as words of a path
    b'/a\nadd \t="" =\n',  # no tokens, until it is written printably
)
TOKENS: Final = (
    *(
        b"\\\n",
        b"\\\r\n    ",
        b"\\_",
        b'\\"',
        b"\\\\",
        b"\\?",
        b"\\$",
        b"\\0A",
        b"\\FF",
        b"\\n",
        b"\\r",
        b"\r\n",
        b"\r",
    ),
    *(
        b"\n#",
        b"\n/",
        b"\n\n",
        b"    ",
        b"\t",
        b"\x00",
        b"\x7f",
        b"\x85",
        b"\xa0",
        b"\x0b",
        b"\x0c",
        b"\x1c",
        b"\xe2\x80\xa8",
    ),
    *(b"\x1b[", b"\x1b[1;31m", b"\x1b]0;", b"\x07", b"\x1b\\", b"\x1b", b"\xef\xbb\xbf"),
    *(b"[ find ", b"[", b"]", b" ]", b"=", b'="', b'"', b' "', b'""', b"!", b".mode=", b"a.b=", b"=yes", b" *8"),
    *(b"add ", b"set ", b"remove ", b"unset ", b"enable ", b"disable ", b"move ", b"reset ", b"add\t", b"find"),
    *(
        b"/ip address",
        b"/ip/firewall/filter",
        b"/ system",
        b"/interface wifi add ",
        b"/user\n",
        b"password=",
        b"secret=",
    ),
    *(b"# by RouterOS ", b"by RouterOS 7.14", b"RouterOS", b"# jan/02/1970 00:00:00 by RouterOS 6.49.6", b"7.1rc5"),
    *(
        b"# model = ",
        b"# serial number = ",
        b"# software id = ",
        b"# system id = ",
        b"# ____-__-__ __:__:__ by RouterOS",
    ),
    *(b"#error exporting ", b'#error exporting "/ip/ssh" (timeout)', b"#interrupted", b"interrupted", b"# "),
    *(b"expected end of command", b"bad command name", b"syntax error", b"not enough permissions", b"no such item"),
    *(b"failure: ", b"action timed out", b"input does not match", b"bad parameter", b" (line 1 column 9)"),
    *(b"/system identity\nset name=", b"/system note\nset note=", b"set [ find default-name=ether1 ] ", b'comment="'),
)
