"""What two exports can be compared by without their texts."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.core.model import RawConfig
from backupflow.drivers import driver
from backupflow.drivers.routeros.lexer import encode
from backupflow.drivers.routeros.outline import outline

if TYPE_CHECKING:
    from backupflow.core.driver import Outline

HEADER = b"# by RouterOS 7.19.1\n"


def drawn(body: bytes) -> Outline:
    """The outline of an export with this body."""
    return outline(driver("routeros").normalize(RawConfig(HEADER + body)))


def test_an_outline_counts() -> None:
    """Different paths with items, bytes of the normal form, properties with a secret."""
    text = b"/a\nadd x=1\n/b\nadd password=1\n/a\nadd password=1 secret=2\n"
    found = drawn(text)
    assert (found.sections, found.size, found.secrets) == (2, len(HEADER + text), 3)


def test_digests_are_of_the_size_of_their_hash() -> None:
    """Both are SHA-256, and none of an empty text."""
    found = drawn(b"/a\nadd x=1\n")
    assert len(found.shape) == len(found.masked) == hashlib.sha256().digest_size
    assert found.shape != hashlib.sha256().digest() != found.masked


@pytest.mark.parametrize(
    ("item", "secrets"),
    [
        (b"add password=x", 1),
        (b'add password="a b \\" c" secret=y', 2),
        (b'add password=""', 0),
        (b"add passwords=x", 0),
        (b"add no-password=x", 0),
        (b"add security.passphrase=x", 1),
        (b"add security.a.b=x .passphrase=y", 1),
        (b'add comment="my password=x"', 0),
        (b'add source="set password=x \\"password=y\\" "', 0),
        (b'add source="a \\\\" password=x', 1),
        (b'add a="1" b="2" password=x c="password=y" secret=z', 2),
        (b"add identity=x key=y", 0),
        (b"add password", 0),
        (b"add mac-auth-password=x pin=1 encryption-key=y", 0),
        (b"add !password", 0),
    ],
)
def test_secrets_are_properties_with_a_value(item: bytes, secrets: int) -> None:
    """Not what a script says about them, and not an empty one."""
    assert drawn(b"/a\n" + item + b"\n").secrets == secrets


@pytest.mark.parametrize(
    ("menu", "item", "secrets"),
    [
        (b"/zerotier", b"set a identity=x", 1),
        (b"/system swos", b"set identity=x", 0),
        (b"/routing ospf interface-template", b"add auth-key=x", 0),
        (b"/routing ospf interface", b"add authentication-key=x", 1),
        (b"/container envs", b"add key=NAME value=x", 0),
        (b"/snmp community", b"set 0 name=x", 0),
        (b"/tool romon", b"set secrets=x", 1),
    ],
)
def test_some_menus_have_names_of_their_own(menu: bytes, item: bytes, secrets: int) -> None:
    """What routers show although they hide secrets says nothing about whether they do."""
    assert drawn(menu + b"\n" + item + b"\n").secrets == secrets


@pytest.mark.parametrize(
    ("shown", "hidden"),
    [
        (b"/p\nadd name=a password=x z=1\n", b"/p\nadd name=a z=1\n"),
        (b'/p\nadd name=a password="a b\\"c"\n/q\nadd b=c\n', b"/p\nadd name=a\n/q\nadd b=c\n"),
        (b"/p\nset [ find default=yes ] psk=x\nadd a=b\n", b"/p\nadd a=b\n"),
        (b"/p\nset [ find default=yes ] psk=x\nadd a=b\n", b"/p\nset [ find default=yes ]\nadd a=b\n"),
        (b"/p\nset 0 psk=x\n/q\nadd a=b\n", b"/q\nadd a=b\n"),
        (b"/q\nadd a=b\n/p\nset psk=x secret=y\n", b"/q\nadd a=b\n"),
        (b"/q\nadd a=b\n/p\nset psk=x\n/q\nadd a=c\n", b"/q\nadd a=b\nadd a=c\n"),
        (b'/q\nadd a=b\n/p\nset [ find name="] x" ] psk=x\n', b'/q\nadd a=b\n/p\nset [ find name="] x" ]\n'),
        (b"/p\nset a security.passphrase=x .wps=no\n", b"/p\nset a security.wps=no\n"),
        (b'/p\nset a psk=x\nset b psk=""\n', b""),
        (b"/p\nset a psk=x\nset b c psk=y\nadd psk=z\n", b"/p\nset a\n"),
        (b"/p\nset a mac-auth-password=x pin=1 Pin=2 psk=y z=1\n", b"/p\nset a z=1\n"),
    ],
)
def test_shown_and_hidden_exports_of_a_router_have_the_same_mask(shown: bytes, hidden: bytes) -> None:
    """So that hiding secrets is told from changing the rest."""
    assert drawn(shown).masked == drawn(hidden).masked
    assert drawn(shown).secrets > 0 == drawn(hidden).secrets


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"/p\nadd a=b\n", b"/p\nadd a=c\n"),
        (b"/p\nadd a=b\n", b"/q\nadd a=b\n"),
        (b"/p\nadd a=b\nadd c=d\n", b"/p\nadd c=d\nadd a=b\n"),
        (b"/p\nadd a=b psk=x\n", b"/p\nadd a=c psk=x\n"),
        (b'/p\nadd source="password=x"\n', b'/p\nadd source="password=y"\n'),
        (b"/p\nadd a=b\n/q\nadd c=d\n", b"/p\nadd a=b\nadd c=d\n"),
        (b"/p\ndisable telnet\n", b"/p\nenable telnet\n"),
        (b"/p\ndisable telnet\n", b""),
        (b"/p\nadd\n", b""),
        (b"/p\nremove a\nset 0 psk=x\n", b"/p\nset 0 psk=x\n"),
        (b"/p\nset 0 blackhole\n", b"/p\n"),
        (b"/p\nset 0 !a psk=x\n", b"/p\nset 0 psk=x\n"),
        (b"/p\nset 0 psk=x a=b\n", b"/p\nset 1 psk=x a=b\n"),
    ],
)
def test_any_other_difference_shows_through_the_mask(one: bytes, other: bytes) -> None:
    """It hides secrets, and items that say nothing else."""
    assert drawn(one).masked != drawn(other).masked


def test_another_version_shows_through_the_mask() -> None:
    """The header belongs to it; of the shape it is no part."""
    text = b"/p\nadd a=b\n"
    old = outline(driver("routeros").normalize(RawConfig(HEADER.replace(b"7.19.1", b"7.18") + text)))
    assert old.masked != drawn(text).masked
    assert old.shape == drawn(text).shape


@pytest.mark.parametrize(
    ("text", "same"),
    [
        (b"/p\nadd a=other\nadd a=c\n/q\nset x=y\n", True),
        (b"/p\nadd a=b\n/q\nset x=y\n", False),
        (b"/q\nset x=y\n/p\nadd a=b\nadd a=c\n", False),
        (b"/p\nadd a=b\nadd a=c\n/r\nset x=y\n", False),
        (b"/p\nadd a=b\n/q\nset x=y\nset x=z\n", False),
    ],
)
def test_the_shape_is_the_paths_and_how_many_items_each_has(text: bytes, same: bool) -> None:
    """In their order, and whatever the items say."""
    assert (drawn(text).shape == drawn(b"/p\nadd a=b\nadd a=c\n/q\nset x=y\n").shape) is same


_WORD = st.sampled_from([b"a", b"0", b"*F", b'"b c"', b"blackhole"])
_VALUE = st.binary(max_size=12) | st.sampled_from([b" password=x", b'" password="x', b"\\", b'\\" psk=y '])
_PLAIN = st.tuples(st.sampled_from([b"name", b"comment", b"x.y", b"passwords", b"key"]), _VALUE)
_SECRET = st.tuples(st.sampled_from([b"password", b"psk", b"s.passphrase", b"wpa2-pre-shared-key"]), _VALUE)
_ITEM = st.tuples(
    st.sampled_from([b"add", b"set", b"set [ find default=yes ]", b'set [ find name="]" ]']),
    st.lists(_WORD, max_size=2),
    st.lists(_PLAIN | _SECRET, max_size=4),
)
_BODY = st.lists(st.tuples(st.sampled_from([b"/p", b"/q", b"/q r"]), st.lists(_ITEM, max_size=3)), max_size=5)
_SECRETS = {b"password", b"psk", b"s.passphrase", b"wpa2-pre-shared-key"}


def _written(body: list[tuple[bytes, list[tuple[bytes, list[bytes], list[tuple[bytes, bytes]]]]]], show: bool) -> bytes:
    lines = []
    for path, items in body:
        lines.append(path)
        for verb, words, properties in items:
            shown = [(key, value) for key, value in properties if show or key not in _SECRETS]
            if shown or not properties:  # an item of secrets only is not printed when they are hidden
                lines.append(b" ".join([verb, *words, *(key + b"=" + encode(value) for key, value in shown)]))
    return b"\n".join(lines) + b"\n"


@given(_BODY)
def test_the_mask_of_any_export_is_that_of_its_hidden_form(
    body: list[tuple[bytes, list[tuple[bytes, list[bytes], list[tuple[bytes, bytes]]]]]],
) -> None:
    """Whatever stands in strings; and the count is that of the secrets with a value."""
    shown, hidden = drawn(_written(body, show=True)), drawn(_written(body, show=False))
    assert shown.masked == hidden.masked
    assert hidden.secrets == 0
    assert shown.secrets == sum(
        key in _SECRETS and bool(value) for _, items in body for _, _, held in items for key, value in held
    )


def test_what_an_outline_counts_and_masks_is_limited() -> None:
    """More secrets than any router has: the first are masked, and it ends."""
    found = drawn(b"/p\n" + b'add name="a b" password="c d"\n' * 250_000)
    assert 100_000 < found.secrets < 250_000


@given(st.binary(max_size=300))
def test_any_text_has_an_outline(raw: bytes) -> None:
    """Nothing that a router sends makes it fail."""
    assert outline(driver("routeros").normalize(RawConfig(raw))).size >= 0
