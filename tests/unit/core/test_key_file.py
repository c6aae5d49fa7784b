"""A file of compared fingerprints: what it prints it reads, and what is malformed is said by its line."""

from __future__ import annotations

import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.core.inventory import checked_name
from backupflow.core.key_file import MOST_FAULTS, Compared, comment, read, written
from backupflow.core.model import HostKey
from backupflow.errors import InputInvalid

ONE, TWO = (HostKey("ssh-ed25519", blob).fingerprint for blob in (b"one", b"two"))


def _possible(name: str) -> bool:
    try:
        checked_name(name)
    except InputInvalid:
        return False
    return True


NAMES = st.text(st.characters() | st.sampled_from('#",; '), min_size=1, max_size=12).filter(_possible)


@given(st.dictionaries(NAMES, st.binary(), max_size=6))
def test_what_is_written_is_read(keys: dict[str, bytes]) -> None:
    """Any name that a device can have, with commas, quotes and # in it."""
    said = {name: HostKey("x", blob).fingerprint for name, blob in keys.items()}
    lines = [line for name, of in said.items() for line in (comment(f"{name} was, once"), written(name, of))]
    found, faults = read("\n".join(lines))
    assert ({one.name: one.fingerprint for one in found}, faults) == (said, ())


def test_a_file_may_come_from_a_spreadsheet() -> None:
    """With a byte order mark, a header, other line ends, blanks, empty lines and comments."""
    text = f'\ufeffName,Fingerprint\r\n# the north\r\n\r\n"core, 1", {ONE}\r\ncore-2,{TWO}='
    assert read(text) == ((Compared(4, "core, 1", ONE), Compared(5, "core-2", TWO)), ())


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("core-1", "1 column,"),
        (f"core-1,{ONE},x", "3 columns"),
        (f",{ONE}", "no device can have such a name"),
        (f"a\x1bb,{ONE}", "no device can have such a name"),
        (f"{'a' * 101},{ONE}", "no device can have such a name"),
        ("core-1,SHA256:short", "not a fingerprint"),
        ("core-1,MD5:aa:bb", "not a fingerprint"),
        (f"core-1,{ONE}x", "not a fingerprint"),
        (f'"core-1,{ONE}', "the quotes do not match"),
        (f"good,{TWO}", "is in line 1 already"),
        (f"name,fingerprint\nname,{ONE}", "not a fingerprint"),
    ],
)
def test_a_malformed_line_is_named_by_its_number(line: str, says: str) -> None:
    """And what stands in it is not repeated."""
    found, faults = read(f"good,{ONE}\n{line}")
    assert next(one.name for one in found) == "good"
    assert [(fault.line, says in fault.says) for fault in faults] == [(2, True)]
    assert "core-1" not in faults[0].says


@pytest.mark.parametrize("name", ["=1+1", "+1", "-x", "@SUM(A1)", "'=1", "''+1", "'quoted'", "#=1", "a,=1"])
def test_a_spreadsheet_takes_no_name_for_a_formula(name: str) -> None:
    """An apostrophe stands before it, quotes would not help; read again it is the same name."""
    line = written(name, ONE)
    assert next(csv.reader([line]))[0][0] not in "=+-@"
    assert read(line) == ((Compared(1, name, ONE),), ())


def test_no_comment_holds_a_formula() -> None:
    """Its commas make cells too."""
    cells = next(csv.reader([comment("jump host a,=HYPERLINK(1): first, @x;\t-1")]))
    assert cells == ["# jump host a", "'=HYPERLINK(1): first", " '@x;\t'-1"]


@given(st.text(st.characters() | st.sampled_from('#",\n\r'), max_size=80))
def test_no_text_is_too_strange(text: str) -> None:
    """Each line is taken, passed over or faulted; nothing else happens."""
    found, faults = read(text)
    assert len(found) + len(faults) <= text.count("\n") + text.count("\r") + 1


def test_faults_are_bounded() -> None:
    """A wrong file is not told line by line for ever."""
    assert len(read("x\n" * 1000)[1]) == MOST_FAULTS
