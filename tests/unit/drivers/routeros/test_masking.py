"""A configuration as those see it who may not see its secrets."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.core.changes import changes
from backupflow.core.diff import diff
from backupflow.core.diff_view import side_by_side, unified, unmasked
from backupflow.core.folding import few
from backupflow.core.model import NormalConfig, RawConfig
from backupflow.core.redact import MASK
from backupflow.core.summary import told
from backupflow.drivers import driver
from backupflow.drivers.routeros.lexer import encode
from backupflow.drivers.routeros.masking import _DEEP
from backupflow.drivers.routeros.pieces import AS_WRITTEN
from backupflow.drivers.routeros.secrets import _MASKED_THERE, _ONLY_THERE

ROS = driver("routeros")
GRAMMAR = ROS.grammar
HEAD = b"# 2024-05-02 03:10:04 by RouterOS 7.14.3\n"

# Where RouterOS keeps secrets: a menu, how an item of it begins, and the property.
PLACES = [
    ("/ppp secret", "add name=a", "password"),
    ("/ppp secret", "set a", "password"),
    ("/interface wireguard", "add name=wg", "private-key"),
    ("/interface wireguard peers", "add interface=wg", "preshared-key"),
    ("/interface wifi", "set [ find default-name=wifi1 ]", "security.passphrase"),
    ("/interface wireless security-profiles", "set [ find default=yes ]", "wpa2-pre-shared-key"),
    ("/interface wireless security-profiles", "add name=x", "static-key-0"),
    ("/caps-man security", "add name=x", "passphrase"),
    ("/interface macsec", "add name=x", "cak"),
    ("/interface lte apn", "set [ find default=yes ]", "password"),
    ("/interface lte", "set [ find ]", "pin"),
    ("/interface eoip", "add name=x", "ipsec-secret"),
    ("/ip ipsec identity", "add peer=x", "secret"),
    ("/radius", "add address=192.0.2.1", "secret"),
    ("/routing ospf interface-template", "add area=x", "auth-key"),
    ("/routing bgp connection", "add name=x", "tcp-md5-key"),
    ("/routing rip interface", "add interface=x", "authentication-key"),
    ("/snmp community", "set [ find default=yes ]", "name"),
    ("/snmp community", "add addresses=::/0", "name"),
    ("/snmp community", "add addresses=::/0", "authentication-password"),
    ("/snmp", "set enabled=yes", "trap-community"),
    ("/container envs", "add key=K list=L", "value"),
    ("/tool e-mail", "set user=x", "password"),
    ("/tool romon", "set enabled=yes", "secrets"),
    ("/tool romon port", "add interface=all", "secrets"),
    ("/zerotier", "set zt1", "identity"),
    ("/ip hotspot user", "add name=x", "password"),
    ("/ip hotspot profile", "set [ find default=yes ]", "mac-auth-password"),
    ("/user-manager user", "add name=x", "otp-secret"),
    ("/system ntp key", "add key-id=1", "key"),
    ("/disk", "set slot1", "encryption-key"),
    ("/iot mqtt brokers", "add name=x", "password"),
    ("/iot lora joineui", "add name=x", "appkey"),
    ("/any menu of tomorrow", "add name=x", "new-api-token"),
]
MARK = "Zq7xKw"
"""How every planted secret begins and ends: letters that no way of writing one escapes."""

# Scripts and remarks: `{}` stands for a secret in quotes, `<>` for a bare one.
TEXTS = [
    ("/system script", "add name=x", "source", ":local pass {}\r\n:put 1"),
    ("/system script", "add name=x", "source", "/tool fetch url=x password={} user=y"),
    ("/system script", "add name=x", "source", "/tool fetch url=x password=<> user=y"),
    ("/system script", "add name=x", "source", ':global tgToken "<>"; :put 1'),
    ("/system script", "add name=x", "source", '/tool fetch url="ftp://u:<>@h/x" user=y'),
    ("/system script", "add name=x", "source", '/tool fetch url="https://h/x\\?q=<>"'),
    ("/system script", "add name=x", "source", '/tool fetch http-header-field="Authorization: Basic <>"'),
    ("/system script", "add name=x", "source", '/tool fetch http-data="{\\"apiKey\\":\\"<>\\"}"'),
    ("/system script", "add name=x", "source", "/ppp secret add name=a password={} service=l2tp\r\n"),
    ("/system script", "add name=x", "source", "/interface wireguard add private-key={}; :put 1"),
    ("/system script", "add name=x", "source", 'do {:set ($a->"secret") {}} on-error={:put 1}'),
    ("/system scheduler", "add name=x", "on-event", "/tool e-mail send password={} to=x"),
    ("/ppp profile", "add name=x", "on-up", ':local psk ({} . "b")'),
    ("/ip dhcp-server", "add name=x", "lease-script", ":if (1=1) do={ :local pwd {} }"),
    ("/tool netwatch", "add host=192.0.2.1", "down-script", "/tool sms send message=x secret={}"),
    ("/container", "add interface=veth1", "cmd", "run --token <> --name x"),
    ("/ip address", "add address=192.0.2.1/24", "comment", "guest password: <>"),
    ("/system note", "set", "note", "PIN is <>1"),
]


def normal(body: bytes) -> NormalConfig:
    """The normal form of an export with this body."""
    return ROS.normalize(RawConfig(HEAD + body))


secrets = st.text(max_size=20).map(lambda inner: f"{MARK}{inner}{MARK}".encode("utf-8", "surrogatepass"))
bare = st.text(alphabet="abcXYZ019./,:_!@#*<>~+&-", max_size=20).map(lambda inner: f"{MARK}{inner}{MARK}".encode())


@dataclass(frozen=True)
class Spelling:
    """One of the ways to write a value: bytes by their letters or by hexadecimal digits, in quotes."""

    hexadecimal: frozenset[int]

    def __call__(self, value: bytes) -> bytes:
        """Write it."""
        return (
            b'"'
            + b"".join(
                b"\\%02X" % byte if byte in self.hexadecimal else encode(b" " + bytes((byte,)))[2:-1] for byte in value
            )
            + b'"'
        )


spellings = st.frozensets(st.integers(0, 255), max_size=40).map(Spelling)


def shown(before: NormalConfig, after: NormalConfig) -> str:
    """All that somebody sees who may see no secrets: both texts, each line of them, and what is told of the change."""
    trees = GRAMMAR.tree(before), GRAMMAR.tree(after)
    lines = [GRAMMAR.masked_line(menu, item) for tree in trees for menu, items in tree.items() for item in items]
    names = [
        GRAMMAR.name(menu, GRAMMAR.parsed(menu, item))
        for tree in trees
        for menu, items in tree.items()
        for item in items
    ]
    edit = told(changes(*trees, GRAMMAR), GRAMMAR)
    return "\n".join([GRAMMAR.masked(before), GRAMMAR.masked(after), *lines, *names, *edit])


@given(place=st.sampled_from(PLACES), old=secrets | bare, new=secrets | bare, spell=spellings, gone=st.booleans())
def test_no_property_that_holds_a_secret_shows_it(
    place: tuple[str, str, str], old: bytes, new: bytes, spell: Spelling, gone: bool
) -> None:
    """However it is written: not in a line, a text, a name or what is told of its change; but to those who may see."""
    menu, item, name = place
    before, after = (normal(f"{menu}\n{item} {name}=".encode() + spell(value) + b" zz=1\n") for value in (old, new))
    after = normal(menu.encode() + b"\n") if gone else after
    assert MARK in before.decode()
    assert MARK not in shown(before, after)
    if before != after:
        edit = changes(GRAMMAR.tree(before), GRAMMAR.tree(after), GRAMMAR)
        assert MARK in "".join(told(edit, GRAMMAR, reveal=True))
        assert MASK in "".join(told(edit, GRAMMAR))


@given(place=st.sampled_from(TEXTS), value=secrets, word=bare, depth=st.integers(0, 2))
def test_no_script_shows_a_secret_that_can_be_recognized(
    place: tuple[str, str, str, str], value: bytes, word: bytes, depth: int
) -> None:
    """Nor does a script that a script writes, in a string of a string."""
    menu, item, name, template = place
    quoted = b'"' + encode(b" " + value)[2:-1] + b'"'
    text = template.encode().replace(b"{}", quoted, 1).replace(b"<>", word.replace(b"@", b"a"))
    for _ in range(depth if name not in {"comment", "note", "cmd"} else 0):
        text = b"/system script add name=y source=" + encode(b" " + text) + b" policy=read"
    planted = normal(f"{menu}\n{item} {name}=".encode() + encode(text) + b"\n")
    assert MARK in planted.decode()
    assert MARK not in shown(planted, normal(menu.encode() + b"\nadd zz=1\n"))


@given(st.text(alphabet='add set/[]=" \\\n#password', max_size=80).map(str.encode))
def test_masking_is_total_and_keeps_the_lines(body: bytes) -> None:
    """Whatever a router sends."""
    text = normal(body)
    assert len(GRAMMAR.masked(text).split("\n")) == len(text.split(b"\n"))


@pytest.mark.parametrize(
    ("menu", "line", "seen"),
    [
        ("ppp/secret", 'add name=a password="b c" profile=x', "add name=a password=••• profile=x"),
        ("ppp/secret", 'add name=a password="" profile=x', 'add name=a password="" profile=x'),
        ("ppp/secret", "add name=a password= b profile=x", 'add name=a password="" ••• profile=x'),
        ("ppp/secret", "add name=a password = b profile=x", 'add name=a password "=" ••• profile=x'),
        ("ppp/secret", 'add name=a password="b c profile=x', "•••"),
        ("ppp/secret", "    password-of-nobody", "•••"),
        ("ppp/secret", "my hunter", "•••"),
        ("snmp/community", "set public addresses=10.0.0.0/8", "set ••• addresses=10.0.0.0/8"),
        ("snmp/community", "set [ find name=public ] disabled=yes", "set [ find name=••• ] disabled=yes"),
        ("snmp/community", "set [ find default=yes ] name=x", "set [ find default=yes ] name=•••"),
        ("ip/firewall/filter", "add action=passthrough chain=x", "add action=passthrough chain=x"),
        ("interface/wireguard/peers", "add public-key=abc", "add public-key=abc"),
        ("ip/ipsec/identity", "add key=office peer=x", "add key=office peer=x"),
        ("ip/address", 'add comment="wifi password=two words" x=1', 'add comment="wifi password=•••" x=1'),
        ("system/script", 'add source="/user add password=a b" x=1', 'add source="/user add password=••• b" x=1'),
        ("header", "# serial number = HE508", "# serial number = HE508"),
        ("header", "# password: abc", "# password: •••"),
        ("ppp/secret", "/ppp secret", "/ppp secret"),
        ("ppp/secret", "/ppp secret hunter", "•••"),
        ("ppp/secret", "/foo hunter", "•••"),
        ("ppp/secret", "/ppp secret add name=x password=y", "•••"),
    ],
)
def test_a_line_keeps_all_but_its_secrets(menu: str, line: str, seen: str) -> None:
    """And what is no line of a configuration is a secret altogether."""
    assert GRAMMAR.masked_line(menu, line) == seen


def test_what_only_looks_like_a_menu_is_named_nowhere() -> None:
    """Neither where lines are headed by it, nor where changes are counted, folded or told."""
    body = "/user correct-horse\n" + "".join(f"add name=x{n} y=1\n" for n in range(9)) + "/foo planted\nset a=b\n"
    before, after = normal(body.encode()), normal(body.replace("=1", "=2").replace("a=b", "a=c").encode())
    edit, lines = changes(GRAMMAR.tree(before), GRAMMAR.tree(after), GRAMMAR), diff(before, after)
    one, rest = few(edit, GRAMMAR, most=1), few(edit, GRAMMAR, most=20)
    rows = [row.heading for row in side_by_side(lines, 80, GRAMMAR.masked_line)]
    seen = [GRAMMAR.masked(before), *told(edit, GRAMMAR), *one.lines, one.rest, *rest.lines]
    seen += [*rows, *unified(lines, GRAMMAR.masked_line)]
    assert rest.lines[0].startswith("other: ")
    assert not any(word in line for line in seen for word in ("horse", "planted"))
    assert any("horse" in line for line in unified(lines, unmasked))


def test_a_text_that_nobody_can_read_is_masked_whole() -> None:
    """But for the line that says so, and what is empty."""
    text = NormalConfig(AS_WRITTEN + b"add password=\\\n    abc\n")
    assert GRAMMAR.masked(text) == AS_WRITTEN.decode() + f"{MASK}\n{MASK}\n"
    assert MASK in shown(text, text)
    assert "abc" not in shown(text, text)


def test_every_menu_with_secrets_of_its_own_is_looked_at_closely() -> None:
    """There a line may have a secret without any word that looks like one."""
    menus = {*_MASKED_THERE, *(menu[1:].decode().replace(" ", "/") for menu in _ONLY_THERE)}
    assert all(menu.startswith((*_DEEP, "tool/romon")) for menu in menus)
