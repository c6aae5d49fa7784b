"""RANCID: groups, both kinds of router.db, and the first directive that matches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backupflow.adapters.inventories import rancid
from backupflow.adapters.inventories.tcl_glob import Glob
from backupflow.adapters.inventories.tcl_words import commands
from backupflow.core.syncing import Inventory, usable
from backupflow.errors import InputInvalid, NotFound

if TYPE_CHECKING:
    from pathlib import Path

    from backupflow.core.importing import Wanted

_KEY = "-----BEGIN RSA PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA\n-----END RSA PRIVATE KEY-----\n"


def read(folder: Path, groups: dict[str, str], cloginrc: str | None = None, **files: str) -> Inventory:
    """What these files say; a name with __ for / is one in a folder."""
    for group, table in groups.items():
        (folder / group).mkdir(exist_ok=True)
        (folder / group / "router.db").write_text(table)
    if cloginrc is not None:
        (folder / ".cloginrc").write_text(cloginrc)
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_conf", ".conf").replace("_types", ".types")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return usable(rancid.read(folder))


def devices(inventory: Inventory) -> dict[str, Wanted]:
    """By name."""
    return {row.name: row for row in inventory.wanted}


def logins(inventory: Inventory) -> dict[str, tuple[str, str | None]]:
    """User and password of each device."""
    profiles = {profile.name: (profile.username, profile.password) for profile in inventory.profiles}
    return {row.name: profiles[row.profile] for row in inventory.wanted if row.profile}


def says(inventory: Inventory) -> str:
    """All that was left out."""
    return "\n".join(f"{it.where}: {it.says}" for it in inventory.leftovers)


@pytest.mark.parametrize(
    "line",
    [
        "R1.example.net;mikrotik;up",
        "r1.example.net;routeros;up;a comment; with more: of it",
        " r1.example.net ; MikroTik ; UP ",
        "r1.example.net:mikrotik:up",
        "r1.example.net:mikrotik:up:a comment; with more",
    ],
)
def test_both_kinds_of_router_db_are_read(tmp_path: Path, line: str) -> None:
    """Since RANCID 3 with semicolons, before with colons; names are in lower case, as RANCID has them."""
    inventory = read(tmp_path, {"edge": f"# comment\n\n{line}\n"})
    row = devices(inventory)["r1.example.net"]
    assert (row.host, row.port, row.group) == ("r1.example.net", 22, "edge")


def test_an_ipv6_address_as_a_name_is_whole(tmp_path: Path) -> None:
    """Between semicolons."""
    assert devices(read(tmp_path, {"g": "2001:db8::1;mikrotik;up"}))["2001:db8::1"].host == "2001:db8::1"


def test_only_what_is_up_and_routeros_is_wanted(tmp_path: Path) -> None:
    """The rest is counted by its kind."""
    table = "a;mikrotik;up\nb;mikrotik;down\nc;cisco;up\nd;cisco;up\ne;mikrotik;ticketed;why\nf\ng;mikrotik;\n"
    inventory = read(tmp_path, {"g": table})
    assert devices(inventory).keys() == {"a"}
    told = says(inventory)
    for words in ("2 of type cisco", "1 of state down", "1 of state ticketed", "1 of state (none)", "1 not understood"):
        assert words in told


@pytest.mark.parametrize("place", ["rancid_conf", "etc__rancid_conf"])
def test_the_groups_are_those_that_are_listed(tmp_path: Path, place: str) -> None:
    """Also where the list is added to; a folder beside is told, and no path leads out."""
    conf = (
        "# LIST_OF_GROUPS=\"none\"\nPATH=/usr/bin; export PATH\nLIST_OF_GROUPS='one two'\n"
        'LIST_OF_GROUPS="$LIST_OF_GROUPS three ../../etc"; export LIST_OF_GROUPS\n'
    )
    table = "{0};mikrotik;up"
    groups = {name: table.format(name) for name in ("one", "three", "old")}
    inventory = read(tmp_path, groups, None, **{place: conf})
    assert devices(inventory).keys() == {"one", "three"}
    told = says(inventory)
    assert "old/router.db: not in LIST_OF_GROUPS" in told
    assert "two/router.db: is not there" in told
    assert "1 words in LIST_OF_GROUPS that name no folder" in told


def test_without_a_list_all_groups_count_and_one_may_stand_alone(tmp_path: Path) -> None:
    """A copy of the folders, or of one of them."""
    assert devices(read(tmp_path, {"a": "r1;mikrotik;up", "b": "r2;mikrotik;up"})).keys() == {"r1", "r2"}
    alone = usable(rancid.read(tmp_path / "a"))
    assert {row.name: row.group for row in alone.wanted} == {"r1": "a"}


def test_types_of_an_install_are_known(tmp_path: Path) -> None:
    """An alias of mikrotik, and what runs its script."""
    types = "# x\nccr;alias;mikrotik\nrb;script;mtrancid\nrb2;script;rancid -t mikrotik\nsw;script;rancid -t cisco\n"
    table = "a;ccr;up\nb;rb;up\nc;rb2;up\nd;sw;up\n"
    assert devices(read(tmp_path, {"g": table}, None, rancid_types_conf=types)).keys() == {"a", "b", "c"}


def test_the_first_directive_that_matches_counts(tmp_path: Path) -> None:
    """Of each kind for itself, whatever fits better further down."""
    rc = """
# comment
add user core-* {chief}
add password core-1 {one} {enable}
add password core-* "two words"
add userpassword core-3 {three}
add user * backup
add password *.example.net {four\\}\\ \\\\}
add password * {all}
add password edge-9 {never}
add method core-* {ssh:2200} {telnet}
add method edge-1 telnet
add noenable *
"""
    names = ["core-1", "core-2", "core-3", "edge-1", "edge-9", "x.example.net"]
    inventory = read(tmp_path, {"g": "".join(f"{name};mikrotik;up\n" for name in names)}, rc)
    assert logins(inventory) == {
        "core-1": ("chief", "one"),
        "core-2": ("chief", "two words"),
        "core-3": ("chief", "three"),
        "edge-1": ("backup", "all"),
        "edge-9": ("backup", "all"),
        "x.example.net": ("backup", "four} \\"),
    }
    there = devices(inventory)
    assert {name: there[name].profile for name in names} == {
        "core-1": "rancid-core-1", "core-2": "rancid-core", "core-3": "rancid-core-3", "edge-1": "rancid",
        "edge-9": "rancid", "x.example.net": "rancid-example.net",
    }  # fmt: skip
    assert [there[name].port for name in names] == [2200, 2200, 2200, 22, 22, 22]
    told = says(inventory)
    for words in ("1 with a second password", "add noenable", "1 that RANCID does not reach by SSH"):
        assert words in told


def test_a_way_of_its_own_is_never_taken_as_a_direct_one(tmp_path: Path) -> None:
    """A jump host is one here too; what cannot be followed is left out and not gone."""
    rc = "add user * {u}\nadd password * {p}\nadd sshcmd a {ssh -p 2022}\nadd sshcmd b {ssh -J me@gate}\n"
    rc += "add sshcmd c {ssh -o ProxyCommand=nc\\ x}\nadd sshcmd d {ssh -o ProxyJump=gate2}\nadd sshcmd e {ssh -F f}\n"
    inventory = read(tmp_path, {"g": "".join(f"{name};mikrotik;up\n" for name in "abcde")}, rc)
    assert {name: (row.port, row.jump) for name, row in devices(inventory).items()} == {
        "a": (2022, None), "b": (22, "gate"), "d": (22, "gate2"),
    }  # fmt: skip
    assert inventory.held == {"c", "e"}


def test_keys_and_files_that_are_included_are_read(tmp_path: Path) -> None:
    """Beside the file too; a key with a passphrase comes with it."""
    rc = "include {more}\ninclude {/nowhere/else}\nadd identity b {/nowhere/key}\nadd identity a {~/.ssh/id_main}\n"
    inventory = read(
        tmp_path, {"g": "a;mikrotik;up\nb;mikrotik;up\n"}, rc, more="add user * {u}\nadd password * {p}\n", id_main=_KEY
    )
    profiles = {profile.name: profile for profile in inventory.profiles}
    there = devices(inventory)
    assert profiles[there["a"].profile or ""].private_key == _KEY
    assert profiles[there["b"].profile or ""].password == "p"
    assert "include of a file that cannot be read" in says(inventory)
    assert "/nowhere/key cannot be read here" in says(inventory)


def test_what_would_have_to_be_run_is_left_out_and_told(tmp_path: Path) -> None:
    """No variable and no command of Tcl is followed; the line is named, its words are not."""
    rc = "set p s3cr3t\nadd password * $p\nadd password * [exec cat s3cr3t]\nadd user * {u}\nadd password * {good}\n"
    inventory = read(tmp_path, {"g": "a;mikrotik;up\n"}, rc)
    assert logins(inventory) == {"a": ("u", "good")}
    assert "2 that would have to be run" in says(inventory)
    assert "s3cr3t" not in says(inventory)


def test_without_logins_the_devices_come_all_the_same(tmp_path: Path) -> None:
    """A profile can be named for them; each is told."""
    inventory = read(tmp_path, {"g": "a;mikrotik;up\n"})
    assert [row.profile for row in inventory.wanted] == [None]
    assert "--cloginrc FILE" in says(inventory)


def test_a_folder_that_is_none_of_rancid_is_not_found(tmp_path: Path) -> None:
    """Nothing there, no folder, or a shell file that is none."""
    with pytest.raises(NotFound):
        rancid.read(tmp_path)
    with pytest.raises(NotFound):
        rancid.read(tmp_path / "nothing")
    with pytest.raises(InputInvalid):
        read(tmp_path, {"g": ""}, None, rancid_conf="LIST_OF_GROUPS='open")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("add user {a b} {c}", ("add", "user", "a b", "c")),
        ("add\tuser   a \\\n   b", ("add", "user", "a", "b")),
        ('add user a "b c"', ("add", "user", "a", "b c")),
        ("add user a {b{c}d}", ("add", "user", "a", "b{c}d")),
        ("add user a b\\ c", ("add", "user", "a", "b c")),
        ("add user a {\\}\\{\\&\\$}", ("add", "user", "a", "}{&$")),
        ("add user a {$b[c]}", ("add", "user", "a", "$b[c]")),
        ("add user a {}", ("add", "user", "a", "")),
    ],
)
def test_words_are_those_of_tcl(text: str, words: tuple[str, ...]) -> None:
    """Bare, in braces, in quotes."""
    assert [command.words for command in commands(text)] == [words]


@pytest.mark.parametrize(
    "text", ["add user a {b", 'add user a "b', "a $b", "a [b]", 'a "$b"', "a {b}c", "a \\n", "a {\\x}"]
)
def test_what_is_not_plain_is_no_command(text: str) -> None:
    """What would be substituted, or does not end."""
    assert [command.words for command in commands(text)] == [None]


def test_a_command_that_cannot_be_read_hides_no_other() -> None:
    """Lines are counted over all of them."""
    text = "add a b\nadd $x\n# c\nadd {c\nd} e ; add f g\n"
    found = [(command.line, command.words) for command in commands(text)]
    assert found == [
        (1, ("add", "a", "b")), (2, None), (4, ("add", "c\nd", "e")), (5, ("add", "f", "g")),
    ]  # fmt: skip


@given(st.text(alphabet=st.sampled_from(list('ab {}"\\;\n$[]#*')), max_size=40))
def test_any_text_is_split_into_commands(text: str) -> None:
    """And no reading goes on for ever."""
    assert len(list(commands(text))) <= len(text)


@pytest.mark.parametrize(
    ("glob", "yes", "no"),
    [
        ("*", ["", "r1"], []),
        ("r*.net", ["r.net", "R1.pop.NET"], ["r1.net.org", "xr.net"]),
        ("r?", ["r1"], ["r", "r12"]),
        ("r[0-9]", ["r1"], ["ra", "r-"]),
        ("r[^0-9]", ["ra"], ["r1"]),
        ("r[a-]", ["r-", "ra"], ["rb"]),
        ("r\\*", ["r*"], ["r1"]),
        ("r.1", ["r.1"], ["rx1"]),
        ("r[", ["r["], ["r"]),
        ("r[z-a]", [], ["rz", "r"]),
        ("a*b*c", ["abc", "axbxbxc"], ["acb"]),
    ],
)
def test_globs_are_those_of_tcl(glob: str, yes: list[str], no: list[str]) -> None:
    """Over the whole name, whatever its case."""
    assert [name for name in (*yes, *no) if Glob(glob).matches(name)] == yes


def test_a_glob_of_many_stars_ends() -> None:
    """What would keep a backtracking matcher busy for years is answered at once."""
    assert not Glob("*a" * 200 + "b").matches("a" * 253)


@example("[?--]", "a")
@given(st.text(alphabet=st.sampled_from(list("ab*?[]^-!\\")), max_size=12), st.text(alphabet="ab-", max_size=8))
def test_any_glob_has_an_answer(glob: str, name: str) -> None:
    """Never an error."""
    assert Glob(glob).matches(name) in {True, False}
