"""OpenSSH's known_hosts: what it says of a host, and that nothing in it does more than be wrong."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.core.known_hosts import LONGEST_LINE, MOST_FAULTS, MOST_PATTERNS, read, spoken
from backupflow.core.model import HostKey


def key(what: bytes, key_type: str = "ssh-ed25519") -> HostKey:
    """A key whose blob begins with its type, as all do."""
    name = key_type.encode()
    return HostKey(key_type, len(name).to_bytes(4, "big") + name + what)


A, B, RSA = key(b"a"), key(b"b"), key(b"r", "ssh-rsa")


def line(names: str, of: HostKey = A, before: str = "", comment: str = "") -> str:
    """One line of such a file."""
    return f"{before}{names} {of.key_type} {b64encode(of.blob).decode()}{comment}\n"


def hashed(name: str, salt: bytes = b"0123456789abcdefghij") -> str:
    """As `ssh-keygen -H` writes it."""
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    return f"|1|{b64encode(salt).decode()}|{b64encode(digest).decode()}"


def keys(text: str, host: str = "192.0.2.1", port: int = 22) -> tuple[HostKey, ...]:
    """What a file says of a host."""
    return read(text.encode()).keys_of(host, port)


@pytest.mark.parametrize(
    ("names", "host", "port", "listed"),
    [
        ("192.0.2.1", "192.0.2.1", 22, True),
        ("192.0.2.1", "192.0.2.1", 2222, False),
        ("[192.0.2.1]:2222", "192.0.2.1", 2222, True),
        ("[192.0.2.1]:2222", "192.0.2.1", 22, False),
        ("[192.0.2.1]:2222", "192.0.2.1", 2223, False),
        ("r1,192.0.2.1,r2", "192.0.2.1", 22, True),
        ("R1.Example", "r1.example", 22, True),
        ("r1.example", "R1.EXAMPLE", 22, True),
        ("2001:db8::1", "2001:DB8::1", 22, True),
        ("[2001:db8::1]:2222", "2001:db8::1", 2222, True),
        ("192.0.2.*", "192.0.2.17", 22, True),
        ("192.0.2.?", "192.0.2.17", 22, False),
        ("192.0.2.*,!192.0.2.17", "192.0.2.17", 22, False),
        ("!192.0.2.17,192.0.2.*", "192.0.2.17", 22, False),
        ("192.0.2.*,!192.0.2.17", "192.0.2.18", 22, True),
        ("!192.0.2.17", "192.0.2.18", 22, False),
        ("*", "192.0.2.1", 2222, True),
        ("[*]:2222", "192.0.2.1", 2222, True),
        (hashed("192.0.2.1"), "192.0.2.1", 22, True),
        (hashed("[192.0.2.1]:2222"), "192.0.2.1", 2222, True),
        (hashed("[192.0.2.1]:2222"), "192.0.2.1", 22, False),
        (hashed("r1.example"), "R1.example", 22, True),
    ],
)
def test_a_line_is_of_the_hosts_that_it_names(names: str, host: str, port: int, listed: bool) -> None:
    """By address, by name, with its port, with wildcards, hashed."""
    assert (keys(line(names), host, port) == (A,)) is listed


def test_all_keys_of_a_host_are_listed_in_their_order_and_once() -> None:
    """Hashed or not, in several lines."""
    text = line("192.0.2.1", RSA) + line(hashed("192.0.2.1"), B) + line("192.0.2.*", A) + line("x,192.0.2.1", RSA)
    assert keys(text) == (RSA, B, A)


def test_a_revoked_key_is_nobodys() -> None:
    """Whoever it is said of: a key that is lost is lost."""
    found = read((line("192.0.2.1") + line("other", A, "@revoked ") + line("192.0.2.1", B)).encode())
    assert (found.keys_of("192.0.2.1", 22), found.revoked) == ((B,), {A: 2})


def test_authorities_are_told_and_not_used() -> None:
    """A certificate is never asked for."""
    found = read(line("*", A, "@cert-authority\t").encode())
    assert (found.authorities, found.keys_of("192.0.2.1", 22), found.faults) == ([1], (), [])


def test_a_mark_of_its_encoding_is_no_part_of_the_first_name() -> None:
    """As an editor on Windows writes it."""
    found = read(b"\xef\xbb\xbf" + line("192.0.2.1", B).encode())
    assert not found.faults
    assert found.keys_of("192.0.2.1", 22) == read(line("192.0.2.1", B).encode()).keys_of("192.0.2.1", 22) != ()


def test_comments_blanks_and_other_line_ends_say_nothing() -> None:
    """A file of a Windows machine is one too."""
    text = "# 192.0.2.1 said nothing\n\n  \t\r\n \t" + line("192.0.2.1", A, comment=" by hand ,x").replace("\n", "\r\n")
    found = read(text.encode())
    assert (found.keys_of("192.0.2.1", 22), found.faults, found.entries) == ((A,), [], 1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("192.0.2.1", "not names, a key type and a key"),
        ("192.0.2.1 ssh-rsa", "not names, a key type and a key"),
        ("192.0.2.1 ssh-ed25519 !!!!", "not base64"),
        ("192.0.2.1 ssh-ed25519 AAAA", "not of its type"),
        (line("192.0.2.1", HostKey("ssh-rsa", A.blob)), "not of its type"),
        (line("192.0.2.1", HostKey("ssh-ed25519", A.blob[:-1])), "not of its type"),
        ("192.0.2.1 1024 65537 123456789", "not base64"),
        (line("192.0.2.1", A, "@nonsense "), "a marker that is not known"),
        (line("|1|x|y"), "a hashed name that cannot be read"),
        (line("|2|MDEy|MDEy"), "a hashed name that cannot be read"),
        (line(hashed("r1") + ",r2"), "a hashed name that cannot be read"),
        (line("r\x01"), "not names and a key type"),
        (line("r\u00e9"), "not names and a key type"),
        (line(","), "no names"),
        (line("r" * 301), "too long"),
        (line("r", key(b"x" * LONGEST_LINE)), "longer than"),
    ],
)
def test_what_is_wrong_with_a_line_is_said_without_it(text: str, says: str) -> None:
    """And the lines beside it count."""
    found = read((line("192.0.2.1", B) + text.rstrip("\n") + "\n" + line("192.0.2.1", RSA)).encode())
    assert [(fault.line, says in fault.says) for fault in found.faults] == [(2, True)]
    assert found.keys_of("192.0.2.1", 22) == (B, RSA)


@given(st.binary(max_size=400) | st.text(st.sampled_from("a|1=@!*?, \t\n#[]:"), max_size=200).map(str.encode))
def test_no_file_is_too_strange(data: bytes) -> None:
    """Binary, control characters, halves of lines: it is read, and says what it can."""
    found = read(data + b"\n" + line("192.0.2.1").encode())
    assert len(found.faults) == MOST_FAULTS or A in {*found.keys_of("192.0.2.1", 22), *found.revoked}


@given(st.text(st.sampled_from("ab*?"), max_size=12), st.text(st.sampled_from("ab"), min_size=1, max_size=12))
def test_wildcards_are_those_of_a_shell(pattern: str, name: str) -> None:
    """Compared with the library's own; `[` is none here."""
    if pattern:
        assert bool(keys(line(pattern), name)) == fnmatchcase(name, pattern)


@given(
    st.lists(st.sampled_from(["a", "b", "a*", "?", "!a", "!b*", "!*"]), min_size=1, max_size=5),
    st.text("ab", max_size=3),
)
def test_a_name_that_is_kept_out_is_kept_out(patterns: list[str], name: str) -> None:
    """A negation wins wherever it stands, and names nobody itself."""
    kept_out = any(fnmatchcase(name, one[1:]) for one in patterns if one.startswith("!"))
    named = any(fnmatchcase(name, one) for one in patterns if not one.startswith("!"))
    assert bool(keys(line(",".join(patterns)), name)) == (named and not kept_out)


def test_a_file_of_wildcards_is_bounded() -> None:
    """Each would be held against each device; those beyond are told, and the other lines still count."""
    text = "".join(line(f"*{'?*' * 100}{number}") for number in range(MOST_PATTERNS + 3)) + line("192.0.2.1", B)
    found = read(text.encode())
    assert len(found.faults) == 3
    assert B in found.keys_of("192.0.2.1", 22)


def test_faults_are_bounded() -> None:
    """A file that is none is not told line by line."""
    assert len(read(b"no\n" * 10_000).faults) == MOST_FAULTS


@given(st.text("ABCxyz.-", min_size=1, max_size=20), st.integers(1, 65535))
def test_a_host_is_spoken_of_in_lower_case_and_with_its_port(host: str, port: int) -> None:
    """Port 22 goes without saying."""
    assert spoken(host, port) == (host.lower() if port == 22 else f"[{host.lower()}]:{port}")
