"""Tables of devices: what they want, what is wrong with them, and that no value of them is ever repeated."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupflow.core import table
from backupflow.core.importing import Wanted
from backupflow.core.table import decoded, read_table
from backupflow.core.table_cells import COLUMNS, SECRET_COLUMNS
from backupflow.errors import InputInvalid

FINGERPRINT = "SHA256:" + "a" * 43
NO_NAME = "no column `name`: the first line must say what each column is"
QUOTES = "a quote that does not end, text behind one, or a cell that is too long; nothing below it was read"
DEVICE_NAME = "column name: not a name: 1 to 100 characters, no control character, no slash, no - before it"
SCOPE_NAME = "not a name: 1 to 100 characters, no control character, no - before it"
HOST = "column host: not a host name or address"
UTF_16 = "this is UTF-16 text: save it as CSV in UTF-8"
NOT_UTF_8 = "not UTF-8 text: save it as CSV in UTF-8"
SPAN = "column interval: not a span with its unit, such as 15m, 6h or 1d, from 1m to 3660d"
CRON = "column cron: not a cron expression such as 0 2 * * * Europe/Berlin"
PRINT = "column fingerprint: not a fingerprint such as SHA256:… of 43 letters"
UNKNOWN = (
    "unknown; there are name, host, port, profile, group, site, jump, fingerprint, legacy_ssh, tenant, interval, cron"
)
AGAIN = "column name: the same name as in line 2"
REFUSED = "a file with logins needs --passwords-in-file; nothing below it was read"

# What is wrong -> (the table, all that is said of it).
BAD: dict[str, tuple[str, list[str]]] = {
    "nothing": ("", ["line 1: there is nothing in it"]),
    "only comments": ("# a\n\n  \n# b\n", ["line 1: there is nothing in it"]),
    "no header": ("core-1,192.0.2.1,22\n", [f"line 1: {NO_NAME}"]),
    "no header, behind comments": ("# fleet\n\ncore-1,192.0.2.1\n", [f"line 3: {NO_NAME}"]),
    "another delimiter": ("name|host\ncore-1|192.0.2.1\n", [f"line 1: {NO_NAME}"]),
    "an unknown column": ("name,colour\ncore-1,red\n", [f"line 1, column colour: {UNKNOWN}"]),
    "an unknown column that is no word": ("name,s3cret!\ncore-1,x\n", [f"line 1, column number 2: {UNKNOWN}"]),
    "an unknown column without a name": ("name,,host\ncore-1,,x\n", [f"line 1, column number 2: {UNKNOWN}"]),
    "several unknown columns": (
        "name,colour,shape\n", [f"line 1, column colour: {UNKNOWN}", "line 1, column shape: unknown"],
    ),
    "a column twice": ("name,host,Host\n", ["line 1, column host: there twice"]),
    "a password column": ("name,password\ncore-1,hush\n", [f"line 1, column password: {REFUSED}"]),
    "a login column": ("name,UserName\ncore-1,hush\n", [f"line 1, column username: {REFUSED}"]),
    "a header that does not end": ('name,"host\ncore-1,x\n', [f"line 1: {NO_NAME}"]),
    "a quote that does not end": ('name,host\ncore-1,a\ncore-2,"b\ncore-3,c\n', [f"line 3: {QUOTES}"]),
    "text behind a quote": ('name,host\n"core-1"x,a\n', [f"line 2: {QUOTES}"]),
    "a cell without an end": (f"name,host\ncore-1,{'x' * 140_000}\n", [f"line 2: {QUOTES}"]),
    "a cell too many": ("name,host\ncore-1,a,b\n", ["line 2: 3 cells, and the header has 2"]),
    "a cell too few": ("name,host,port\ncore-1,a\n", ["line 2: 2 cells, and the header has 3"]),
    "commas below semicolons": ("name;host\ncore-1,a\n", ["line 2: 1 cells, and the header has 2"]),
    "no name": ("name,host\n,192.0.2.1\n", ["line 2, column name: missing"]),
    "a name with a slash": ("name\ncore/1\n", [f"line 2, {DEVICE_NAME}"]),
    "a name that is an option": ("name\n-core\n", [f"line 2, {DEVICE_NAME}"]),
    "a name too long": (f"name\n{'n' * 101}\n", [f"line 2, {DEVICE_NAME}"]),
    "a name that rings": ("name\ncore\a1\n", [f"line 2, {DEVICE_NAME}"]),
    "a name of two lines": ('name,host\n"core\n1",a\n', [f"line 2, {DEVICE_NAME}"]),
    "a name that turns the line": ("name\ncore\u202e1\n", [f"line 2, {DEVICE_NAME}"]),
    "a host with a port": ("name,host\nc,192.0.2.1:22\n", [f"line 2, {HOST}"]),
    "a host with a user": ("name,host\nc,root@r1\n", [f"line 2, {HOST}"]),
    "a host with a blank": ("name,host\nc,r 1\n", [f"line 2, {HOST}"]),
    "a host in brackets": ("name,host\nc,[2001:db8::1]\n", [f"line 2, {HOST}"]),
    "port 0": ("name,port\nc,0\n", ["line 2, column port: not a port"]),
    "port 65536": ("name,port\nc,65536\n", ["line 2, column port: not a port"]),
    "a port by its name": ("name,port\nc,ssh\n", ["line 2, column port: not a port"]),
    "a port with a point": ("name,port\nc,22.0\n", ["line 2, column port: not a port"]),
    "a port in other digits": ("name,port\nc,\uff12\uff12\n", ["line 2, column port: not a port"]),
    "a fingerprint of MD5": ("name,fingerprint\nc,MD5:00:11:22\n", [f"line 2, {PRINT}"]),
    "a fingerprint too short": (f"name,fingerprint\nc,{FINGERPRINT[:-1]}\n", [f"line 2, {PRINT}"]),
    "neither yes nor no": ("name,legacy_ssh\nc,maybe\n", ["line 2, column legacy_ssh: neither yes nor no"]),
    "no span": ("name,interval\nc,often\n", [f"line 2, {SPAN}"]),
    "a span without a unit": ("name,interval\nc,3600\n", [f"line 2, {SPAN}"]),
    "a span of seconds": ("name,interval\nc,59s\n", [f"line 2, {SPAN}"]),
    "a span of nothing": ("name,interval\nc,0s\n", [f"line 2, {SPAN}"]),
    "a span without an end": ("name,interval\nc,inf\n", [f"line 2, {SPAN}"]),
    "no expression": ("name,cron\nc,nightly\n", [f"line 2, {CRON}"]),
    "an hour that is none": ("name,cron\nc,0 25 * * *\n", [f"line 2, {CRON}"]),
    "a time zone that is none": ("name,cron\nc,0 2 * * * Berlin\n", [f"line 2, {CRON}"]),
    "two ways to say when": (
        "name,interval,cron\nc,6h,0 2 * * *\n", ["line 2, column cron: an interval or a cron expression, not both"],
    ),
    "a span of eleven years": ("name,interval\nc,4000d\n", [f"line 2, {SPAN}"]),
    "a group that rings": ("name,group\nc,a\ab\n", [f"line 2, column group: {SCOPE_NAME}"]),
    "a site too long": (f"name,site\nc,{'s' * 101}\n", [f"line 2, column site: {SCOPE_NAME}"]),
    "a profile that is an option": ("name,profile\nc,--x\n", [f"line 2, column profile: {SCOPE_NAME}"]),
    "a tenant that is an option": ("name,tenant\nc,-t\n", [f"line 2, column tenant: {SCOPE_NAME}"]),
    "several things in one row": (
        "name,host,port\n-c,a b,x\n",
        [f"line 2, {DEVICE_NAME}", f"line 2, {HOST}", "line 2, column port: not a port"],
    ),
    "a name again, and something else": (
        "name,port\na,22\na,x\n", ["line 3, column port: not a port", f"line 3, {AGAIN}"],
    ),
    "a name again, of one that is wrong": (
        "name,port\na,x\na,22\n", ["line 2, column port: not a port", f"line 3, {AGAIN}"],
    ),
    "a name again, of another tenant": (
        "name,port,tenant\na,x,one\na,22,two\n", ["line 2, column port: not a port"],
    ),
    "several rows": (
        "name,port\na,x\nb,22\n\n# c,y\nd,z\n", ["line 2, column port: not a port", "line 6, column port: not a port"],
    ),
}  # fmt: skip
BAD_WITH_LOGINS: dict[str, tuple[str, list[str]]] = {
    "a login without a password": ("name,username\nc,u\n", ["line 1: the columns username and password go together"]),
    "a password without a login": ("name,password\nc,p\n", ["line 1: the columns username and password go together"]),
    "a row without a password": ("name,username,password\nc,u,\n", ["line 2, column password: missing"]),
    "a row without a login": ("name,username,password\nc,,p\n", ["line 2, column username: missing"]),
    "a login name that rings": ("name,username,password\nc,u\a,p\n", ["line 2, column username: not a login name"]),
    "a password of a line's end": ('name,username,password\nc,u,"\n"\n', ["line 2, column password: not a password"]),
}
BYTES: dict[str, tuple[bytes, str]] = {
    "UTF-16": ("name,host\n".encode("utf-16"), UTF_16),
    "UTF-16, the other way round": (b"\xfe\xff" + "name".encode("utf-16-be"), UTF_16),
    "UTF-16 without a mark": ("name,host\n".encode("utf-16-le"), "line 1: a NUL byte, this is not text"),
    "UTF-32": ("name\n".encode("utf-32"), UTF_16),
    "a NUL byte": (b"name,host\ncore-1,a\nco\0re,b\n", "line 3: a NUL byte, this is not text"),
    "Latin-1": ("name,site\ncore-1,a\ncore-2,Köln\n".encode("latin-1"), f"line 3: {NOT_UTF_8}"),
    "a spreadsheet": (b"PK\x03\x04\x14\x00", "this is a spreadsheet or a ZIP file, not text: save it as CSV"),
    "an old spreadsheet": (b"\xd0\xcf\x11\xe0\xa1\xb1", "this is a spreadsheet, not text: save it as CSV"),
    "gzip": (b"\x1f\x8b\x08\x00", "this is gzip, not text: save it as CSV"),
}  # fmt: skip


def said(text: str, *, passwords: bool = False) -> list[str]:
    """All that is said of it."""
    return [str(problem) for problem in read_table(text, passwords=passwords)[1]]


@pytest.mark.parametrize("case", BAD)
def test_each_bad_table_has_its_message(case: str) -> None:
    """Line, column and what is wrong, of everything that is wrong; the rows that are right are still read."""
    text, messages = BAD[case]
    assert said(text) == messages


@pytest.mark.parametrize("case", BAD_WITH_LOGINS)
def test_each_bad_table_with_logins_has_its_message(case: str) -> None:
    """The same where logins may be in it."""
    text, messages = BAD_WITH_LOGINS[case]
    assert said(text, passwords=True) == messages


@pytest.mark.parametrize("case", BYTES)
def test_each_file_that_is_no_text_has_its_message(case: str) -> None:
    """What it is instead, and what to do."""
    data, message = BYTES[case]
    with pytest.raises(InputInvalid) as refused:
        decoded(data)
    assert refused.value.detail == message
    assert refused.value.__context__ is None  # a decoding error holds all that was read


def test_a_table_has_a_largest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """In bytes and in rows, which are told apart from comments and blank lines."""
    monkeypatch.setattr(table, "LARGEST", 2 * 1024**2)
    assert decoded(b"n" * 2 * 1024**2)
    with pytest.raises(InputInvalid, match="more than 2 MiB"):
        decoded(b"n" * (2 * 1024**2 + 1))
    monkeypatch.setattr(table, "MOST_ROWS", 3)
    assert said("name\na\n#\n\nb\nc\n") == []
    assert said("name\na\nb\nc\nd\n") == ["line 5: more than 3 rows"]


def test_nothing_is_taken_of_a_table_that_cannot_be_understood() -> None:
    """What stands above a broken quote might be part of what it broke; a wrong cell concerns its row alone."""
    assert read_table('name,host\ncore-1,a\ncore-2,"b\n')[0] == ()
    assert [row.name for row in read_table("name,port\na,1\nb,x\nc,2\n")[0]] == ["a", "c"]


WHOLE = Wanted(
    "core-1", "192.0.2.1", 2222, "routers", "access", "north", "direct", FINGERPRINT, True, "acme", 900.0, line=2,
)  # fmt: skip


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_table_is_read_as_programs_write_it(delimiter: str, mark: str, end: str) -> None:
    """Any delimiter, with or without a byte order mark, with any line ending."""
    cells = [
        "core-1",
        "192.0.2.1",
        "2222",
        "routers",
        "access",
        "north",
        "direct",
        FINGERPRINT,
        "YES",
        "acme",
        "15m",
        "",
    ]
    text = mark + delimiter.join(COLUMNS) + end + delimiter.join(cells) + end
    assert read_table(decoded(text.encode())) == ((WHOLE,), ())


def test_columns_stand_in_any_order_and_spelling() -> None:
    """Capital letters, blanks and hyphens for underscores, quotes; empty cells and columns at the end say nothing."""
    text = '"Legacy SSH",HOST,Name,interval,Port,,\nno,"r1.example.net", core-1 ,6h,,,\n,,core-2,,,\n'
    rows, problems = read_table(text)
    assert problems == ()
    assert rows == (
        Wanted("core-1", "r1.example.net", legacy_ssh=False, interval=21600.0, line=2), Wanted("core-2", line=3),
    )  # fmt: skip


def test_comments_and_blank_lines_are_left_out_and_counted() -> None:
    """Lines are those of an editor; a # within quotes, or behind a name, is none."""
    text = '# fleet "of ours\n\nname,site\n#,"\ncore-1,"a\n# b"\n ,\n  # c\ncore-2,#1\n-,\n'
    rows, problems = read_table(text)
    assert [(row.name, row.line) for row in rows] == [("core-2", 9)]
    assert [str(problem) for problem in problems] == [f"line 5, column site: {SCOPE_NAME}", f"line 10, {DEVICE_NAME}"]


def test_a_password_is_taken_as_it_is_and_never_shown() -> None:
    """Blanks at its ends belong to it, and nothing that shows a row shows it."""
    rows, _ = read_table('name,username,password\nc,u," hu""sh, "\n', passwords=True)
    assert (rows[0].username, rows[0].password) == ("u", ' hu"sh, ')
    assert "hu" not in repr(rows)


MARKER = "Zq9marker"


@given(st.lists(st.lists(st.sampled_from(["", "x", "-", "\a", '"', "\n", "0", "a b", "é"]), min_size=1, max_size=14)))
def test_no_message_repeats_a_value(rows: list[list[str]]) -> None:
    """Whatever stands in whichever column, with logins or without, with a header or without."""
    for header in ([], [[*COLUMNS]], [[*COLUMNS, *SECRET_COLUMNS]], [[*COLUMNS, MARKER]]):
        written = io.StringIO()
        csv.writer(written).writerows([*header, *([f"{cell}{MARKER}{cell}" for cell in row] for row in rows)])
        for passwords in (False, True):
            wanted, problems = read_table(written.getvalue(), passwords=passwords)
            shown = [str(problem) for problem in problems]
            if header != [[*COLUMNS, MARKER]]:  # an unknown column is named, if it looks like one
                assert not any(MARKER.lower() in message.lower() for message in shown)
            assert all(row.password is None or row.password not in repr(row) for row in wanted)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing else is raised, whatever it is."""
    read_table(text)
    read_table("name,host\n" + text, passwords=True)
