"""An export from which secrets were to be left out is refused if it holds what looks like one, in whatever form."""

from __future__ import annotations

import pytest

from backupflow.core.driver import Asking, Incomplete, Reading, Reason, Reply
from backupflow.core.model import SecretsPolicy
from backupflow.drivers import driver

ROS = driver("routeros")
HEADER = b"# 2025-06-10 18:46:11 by RouterOS 7.19.1\n"
CAME = " came although secrets were to be left out"
NO_TOKENS = "what may be a secret" + CAME + ": an item is not made of tokens"


def read(body: bytes) -> Reading | Incomplete:
    """What is made of an export with this body that a router gave when it was told to hide its secrets."""
    asking = Asking(SecretsPolicy.OMIT, None)
    return ROS.read(asking, [Reply("/export hide-sensitive", HEADER + body, b"", 0)])


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"/ip hotspot profile\nset 0 mac-auth-password=hunter2\n", "mac-auth-password in /ip hotspot profile"),
        (b"/interface lte\nset 0 pin=1234\n", "pin in /interface lte"),
        (b"/disk\nset 0 encryption-key=hunter2\n", "encryption-key in /disk"),
        (b"/tool sms\nset sim-pin=1234\n", "sim-pin in /tool sms"),
        (b"/zerotier\nset 0 identity=hunter2\n", "identity in /zerotier"),
        (b"/tool romon\nset secrets=hunter2\n", "secrets in /tool romon"),
        (b"/new menu\nadd some-secret=hunter2\n", "some-secret in /new menu"),
        (b"/caps-man interface\nadd security.passphrase=hunter2\n", "passphrase in /caps-man interface"),
        (b"/a\nset 0 x=y\n/b c\nadd name=a password=hunter2\n/d\nadd x=y\n", "password in /b c"),
        (b"/a\nadd Password=hunter2\n", "password in /a"),
        (b'/a\nadd name="u"password=hunter2\n', "a secret"),
        (b'/a\nadd password="hunter2"x\n', "password in /a"),
        (b"/a\nadd password = hunter2\n", "a secret"),
        (b"/a\nadd password =hunter2\n", "a secret"),
        (b"/a\nadd password= hunter2\n", "password in /a"),
        (b'/a\nadd password="" hunter2\n', "password in /a"),
        (b"/A_B\nadd password=hunter2\n", "a secret"),
        (b"/a\nadd p\xc3\xa4ss-password=hunter2\n", "a secret"),
    ],
)
def test_what_looks_like_a_secret_is_refused_by_its_name(body: bytes, what: str) -> None:
    """The menu and the property say what to do about it; what may be no name is not shown, a value never is."""
    assert read(body) == Incomplete(Reason.REJECTED, what + CAME)


@pytest.mark.parametrize(
    "item",
    [
        b'"password"=hunter2',
        b'"Password"="hunter2"',
        b'"password""hunter2"',
        b"[password hunter2",
        b'x=\\"a" password=hunter2 \\"b"',
        b'comment="a"b pass=phrase the-pin:1234',
        b'name="a"x key:hunter2',
    ],
)
def test_a_secret_in_an_item_that_is_not_made_of_tokens_is_refused(item: bytes) -> None:
    """Nobody knows what the router means by it, so any form of such a name is enough."""
    said = read(b"/a\nadd x=y\nadd " + item + b"\n")
    assert isinstance(said, Incomplete)
    assert said.reason is Reason.REJECTED or item.startswith(b"[")
    assert "hunter2" not in said.detail


@pytest.mark.parametrize("filler", [b"/m%d\nadd x=y\n", b'/s\nadd comment=" password=x" a=%d\n', b"/o\nadd x=%d\n"])
def test_no_amount_of_anything_hides_a_secret(filler: bytes) -> None:
    """More sections, and more places that look like secrets, than an outline looks at."""
    body = b"".join(filler % n for n in range(60_000))
    assert isinstance(read(body), Reading)
    assert read(body + b"/p\nadd password=hunter2\n" + body) == Incomplete(Reason.REJECTED, "password in /p" + CAME)


def test_too_many_items_that_are_not_made_of_tokens_are_refused() -> None:
    """The one limit: who comes to it has something to hide."""
    strange = b'add name="a"b\n'
    assert isinstance(read(b'/a\nadd my-key=""\n' + strange * 999), Reading)
    assert read(b'/a\nadd my-key=""\n' + strange * 1001) == Incomplete(Reason.REJECTED, NO_TOKENS)


@pytest.mark.parametrize(
    "body",
    [
        b'/ppp secret\nadd name=a password="" service=any\nadd name=b password=""\n',
        b"/ppp secret\nset secret disabled=no\nset password disabled=no\nset 0 !password\n",
        b"/snmp community\nset 0 name=hunter2\n/snmp\nset trap-community=hunter2\n",
        b"/routing ospf interface-template\nadd auth-key=hunter2\nadd auth-key=b\n",
        b"/container envs\nadd key=NAME value=hunter2\n",
        b"/ip ipsec identity\nadd auth-method=digital-signature key=mine remote-key=theirs\n",
        b'/interface wireguard peers\nadd public-key="abc="\n',
        b"/system swos\nset identity=switch\n",
        b'/system script\nadd name=s source="set password=hunter2 \\"pin=1\\"\\npassword = x"\n',
        b'/ip address\nadd comment="the password=hunter2 [x" address=192.0.2.1\n',
        b"/user group\nset full policy=local,password,sensitive\n",
        b'/interface\nset [ find default-name=ether1 ] name=key\nset [ find name="] password=x" ] disabled=yes\n',
        b'/a\nadd my-key=""\nadd strange="a"b\n',
        b'# model = 19" rack with a key [\n/a\nadd my-key="" x=y\n',
    ],
)
def test_what_is_no_secret_or_a_known_exception_is_kept(body: bytes) -> None:
    """Those of docs/completeness.md, and names that only look alike."""
    assert isinstance(read(body), Reading)
