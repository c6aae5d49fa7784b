"""Simulated configurations: distinct, repeatable, of the wanted size, and changed by one item at a time."""

from __future__ import annotations

import difflib
import itertools
from dataclasses import replace
from datetime import UTC, datetime
from typing import get_args

import pytest

from backupflow.errors import InputInvalid
from backupflow.simulator.configuration import EditKind, at_revision, edit_kind, export, header, rendered
from backupflow.simulator.extent import Extent
from backupflow.simulator.grammar import line
from backupflow.simulator.spec import RouterSpec

AT = datetime(2024, 1, 2, 10, 30, tzinfo=UTC)
SEVEN = RouterSpec("r1", seed=3)
SIX = replace(SEVEN, version="6.49.7")
SHOWN, HIDDEN = Extent(), Extent(sensitive=False)


def logical(spec: RouterSpec, *kinds: EditKind) -> list[str]:
    """All items in order, one line each."""
    state, _ = at_revision(spec, kinds)
    return [f"{section.path} {line(item, sensitive=True)}" for section in state for item in section.items]


@pytest.mark.parametrize(
    ("version", "model", "first", "rows"),
    [
        ("6.49.7", "RB750Gr3", "# jan/02/2024 10:30:00 by RouterOS 6.49.7", 5),
        ("7.9.2", "RB750Gr3", "# jan/02/2024 10:30:00 by RouterOS 7.9.2", 5),
        ("7.10rc1", "RB750Gr3", "# 2024-01-02 10:30:00 by RouterOS 7.10rc1", 5),
        ("7.14", "RB750Gr3", "# 2024-01-02 10:30:00 by RouterOS 7.14", 5),
        ("6.49.7", "CHR", "# jan/02/2024 10:30:00 by RouterOS 6.49.7", 5),
        ("7.14", "CHR", "# 2024-01-02 10:30:00 by RouterOS 7.14", 3),
    ],
)
def test_a_header_has_the_form_of_its_version(version: str, model: str, first: str, rows: int) -> None:
    """The date changed its form in 7.10; the lines below it depend on the model."""
    found = header(replace(SEVEN, version=version, model=model), AT).split("\r\n")
    assert found[0] == first
    assert len(found) == rows + 1
    assert found[-1] == ""
    assert all(row.startswith("#") for row in found[:-1])


def test_a_board_names_its_model_and_serial_number_and_a_chr_does_not() -> None:
    """Identity is read from these lines."""
    board = header(replace(SEVEN, serial="HF1234"), AT)
    assert "# model = RB5009UG+S+\r\n# serial number = HF1234\r\n" in board
    assert "# software id = " in board
    assert "# system id = " in header(replace(SEVEN, model="CHR", version="7.19.1"), AT)
    assert "serial" not in header(replace(SEVEN, model="CHR"), AT)


def test_routers_are_distinct_and_repeatable() -> None:
    """The same seed and name give the same text in every process, another of either gives another."""
    texts = {rendered(spec, (), SHOWN).digest for spec in (SEVEN, replace(SEVEN, seed=4), replace(SEVEN, name="r2"))}
    assert len(texts) == 3
    assert rendered(SEVEN, (), SHOWN) == rendered(SEVEN, (), SHOWN)
    assert rendered(SEVEN, (), SHOWN).digest == "162666fb9a8f0507213e7160d66c6704dd174df1860e614dfc581b291fdf09f0"


@pytest.mark.parametrize("size", [6_000, 60_000, 600_000])
def test_a_configuration_has_about_the_wanted_size(size: int) -> None:
    """Within a tenth: benchmarks count bytes."""
    assert abs(len(rendered(replace(SEVEN, size=size), (), SHOWN).canonical) - size) < size / 10


@pytest.mark.parametrize("spec", [SIX, SEVEN], ids=["6", "7"])
@pytest.mark.parametrize("kind", get_args(EditKind))
def test_an_edit_changes_exactly_one_item(spec: RouterSpec, kind: EditKind) -> None:
    """Nothing else moves, and the edit's own account of it is true."""
    before, after = logical(spec, "comment"), logical(spec, "comment", kind)
    changed = [row for row in difflib.ndiff(before, after) if row[0] in "+-"]
    edit = at_revision(spec, ("comment", kind))[1][-1]
    told = [f"- {edit.section} {edit.before}"] * bool(edit.before) + [f"+ {edit.section} {edit.after}"] * bool(
        edit.after
    )
    assert sorted(changed) == sorted(told)
    assert 1 <= len(changed) <= 2
    assert edit.revision == 2


def test_a_revert_gives_the_very_text_from_before() -> None:
    """A, B, A: the digest comes back."""
    first, second, third = (rendered(SEVEN, kinds, SHOWN) for kinds in ((), ("address",), ("address", "revert")))
    assert first.digest == third.digest != second.digest


def test_many_edits_go_on_changing_something() -> None:
    """Rules are not removed until none is left: every revision differs from the one before it."""
    kinds = tuple(edit_kind(SEVEN, number, None) for number in range(1, 60)) + ("rule-removed",) * 30
    digests = [rendered(SEVEN, kinds[:number], HIDDEN).digest for number in range(len(kinds) + 1)]
    assert all(one != two for one, two in itertools.pairwise(digests))


def test_an_unknown_edit_is_refused() -> None:
    """A typing error in a test script must not become a random edit."""
    with pytest.raises(InputInvalid):
        edit_kind(SEVEN, 1, "adress")


@pytest.mark.parametrize("spec", [SIX, SEVEN], ids=["6", "7"])
def test_a_marker_stands_whole_in_the_shown_text_and_not_in_the_hidden_one(spec: RouterSpec) -> None:
    """Leak tests search for it byte for byte, so no wrap may go through it."""
    marked = replace(spec, marker="f00d" * 8)
    assert b"password=" + b"f00d" * 8 in rendered(marked, (), SHOWN).body.text
    assert b"f00d" not in rendered(marked, (), HIDDEN).body.text


def test_hidden_text_holds_no_secret_of_the_configuration() -> None:
    """Neither keys nor values: wireless, PPP and PPPoE."""
    for spec in (SIX, SEVEN):
        hidden = rendered(spec, (), HIDDEN).body.text
        shown = rendered(spec, (), SHOWN).body.text
        for key in (b"password=", b"wpa2-pre-shared-key=" if spec.old else b"security.passphrase="):
            assert key in shown
            assert key not in hidden


def test_only_the_date_and_device_comments_change_from_export_to_export() -> None:
    """Without them each export is the canonical text, and some exports do differ in comments."""
    text = rendered(SEVEN, (), SHOWN)
    exports = [export(SEVEN, text, AT, number, 0.5) for number in range(20)]
    assert len(set(exports)) > 5
    for one in exports:
        head, *rows = one.split(b"\r\n")
        assert head == b"# 2024-01-02 10:30:00 by RouterOS 7.14"
        kept = rows[:4] + [row for row in rows[4:] if not row.startswith(b"#")]
        assert b"\r\n".join([b"# by RouterOS 7.14", *kept]) == text.canonical
    assert export(SEVEN, text, AT, 7, 0.5) == exports[7]


def paths(text: bytes) -> list[bytes]:
    """The section lines of an export."""
    return [row for row in text.split(b"\r\n") if row.startswith(b"/")]


def test_one_menu_is_exported_with_those_below_it() -> None:
    """And with no other that only begins with the same letters."""
    text = rendered(SEVEN, (), Extent(menu="/ip dhcp-server"))
    assert paths(text.body.text) == [b"/ip dhcp-server", b"/ip dhcp-server lease", b"/ip dhcp-server network"]
    one = export(SEVEN, rendered(SEVEN, (), Extent(menu="/system identity")), AT, 1, 0.0)
    assert one.endswith(b"\r\n/system identity\r\nset name=r1\r\n")
    assert one.startswith(b"# 2024-01-02 10:30:00 by RouterOS 7.14\r\n")


def test_a_shrunk_export_has_at_most_half_of_the_sections() -> None:
    """Those that are left are whole and in their order."""
    whole, half = (rendered(SEVEN, (), extent).body.text for extent in (SHOWN, Extent(shrunk=True)))
    assert 0 < 2 * len(paths(half)) <= len(paths(whole))
    assert [path for path in paths(whole) if path in paths(half)] == paths(half)


@pytest.mark.parametrize(
    ("version", "row"),
    [
        ("6.49.7", b"#error exporting /ip dns"),
        ("7.9.2", b'#error exporting "/ip/dns"'),
        ("7.14", b'#error exporting "/ip/dns" (timeout)'),
    ],
)
def test_a_menu_that_cannot_be_exported_leaves_its_marker(version: str, row: bytes) -> None:
    """In the place of its section, in each export; the rest is as it was, and the canonical text has no marker."""
    spec = replace(SEVEN, version=version)
    text = rendered(spec, (), Extent(unexportable=("/ip dns", "/ip ssh")))
    whole = export(spec, rendered(spec, (), SHOWN), AT, 1, 0.0)
    found = export(spec, text, AT, 1, 0.0)
    assert found.split(row)[0] == whole.split(b"/ip dns\r\n")[0]
    assert found.endswith(row.replace(b"dns", b"ssh") + b"\r\n")
    assert set(paths(whole)) - set(paths(found)) == {b"/ip dns"}
    assert b"#error" not in text.canonical
    assert b"/ip dns\r\n" not in text.canonical


def test_hostile_names_and_remarks_are_written_as_routeros_writes_them() -> None:
    r"""Control bytes and what is not ASCII as `\HH`, markup in quotes: an export is text whatever is in it."""
    spec = replace(SEVEN, identity="\x1b]0;owned\x07", remark="<script>alert(1)</script> \N{SNOWMAN}")
    text = rendered(spec, (), SHOWN).body.text.replace(b"\\\r\n    ", b"")
    assert b'set name="\\1B]0;owned\\07"\r\n' in text
    assert b'comment="<script>alert(1)</script> \\E2\\98\\83"' in text
