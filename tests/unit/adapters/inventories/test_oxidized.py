"""Oxidized: every dialect of its table is followed, and what is left out is told."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

import pytest

from backupflow.adapters.inventories import oxidized
from backupflow.core.syncing import Inventory, usable
from backupflow.errors import InputInvalid, NotFound

if TYPE_CHECKING:
    from pathlib import Path

    from backupflow.core.importing import Wanted

_KEY = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA\n-----END PRIVATE KEY-----\n"
_LOCKED = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA\n-----END ENCRYPTED PRIVATE KEY-----\n"


def read(folder: Path, config: str, table: str = "", **files: str) -> Inventory:
    """What these files say."""
    (folder / "config").write_text(config)
    (folder / "router.db").write_text(table)
    for name, text in files.items():
        (folder / name).write_text(text)
    return usable(oxidized.read(folder))


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


PLAIN = "username: u\npassword: p\nsource:\n  csv:\n    map: {name: 0, ip: 1, model: 2, username: 3, password: 4}\n"


@pytest.mark.parametrize(
    ("delimiter", "line"),
    [
        ("", "r1:192.0.2.1:routeros:me:secret"),
        ("    delimiter: ':'\n", "r1:192.0.2.1:routeros:me:secret"),
        ("    delimiter: !ruby/regexp /:/\n", "r1:192.0.2.1:routeros:me:secret"),
        ("    delimiter: ;\n", "r1;192.0.2.1;routeros;me;secret"),
        ("    delimiter: !ruby/regexp /;/\n", "r1;192.0.2.1;routeros;me;secret"),
        ("    delimiter: ','\n", "r1,192.0.2.1,routeros,me,secret"),
        ("    delimiter: !ruby/regexp /[:,;]/\n", "r1,192.0.2.1;routeros:me,secret"),
        ("    delimiter: !ruby/regexp /\\s*,\\s*/\n", "r1 , 192.0.2.1,routeros , me,secret"),
        ("    delimiter: !ruby/regexp /:|;/\n", "r1:192.0.2.1;routeros:me;secret"),
        ('    delimiter: "\\t"\n', "r1\t192.0.2.1\trouteros\tme\tsecret"),
        ("    delimiter: !ruby/regexp /\\|/\n", "r1|192.0.2.1|routeros|me|secret"),
    ],
)
def test_any_delimiter_is_followed(tmp_path: Path, delimiter: str, line: str) -> None:
    """A character, or the simple expressions that are written for one."""
    inventory = read(tmp_path, PLAIN + delimiter, f"# head\n\n{line}\r\n   \n")
    assert devices(inventory)["r1"].host == "192.0.2.1"
    assert logins(inventory) == {"r1": ("me", "secret")}


def test_the_short_form_is_name_and_model_and_group(tmp_path: Path) -> None:
    """Without a map the first two columns are name and model; with one, a third is what it says."""
    config = "username: u\npassword: p\n"
    assert devices(read(tmp_path, config, "r1:routeros\nr2:mikrotik:whatever\n")).keys() == {"r1", "r2"}
    mapped = config + "source: {csv: {map: {name: 0, model: 1, group: 2}}}\ngroup_map: {n: north}\n"
    there = devices(read(tmp_path, mapped, "r1:routeros\nr2:mikrotik:n\nr3:RouterOS:s\n"))
    assert {name: (row.host, row.group) for name, row in there.items()} == {
        "r1": ("r1", None), "r2": ("r2", "north"), "r3": ("r3", "s"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("line", "host"),
    [
        ("r1:[2001:db8::6]:routeros", "2001:db8::6"),
        ("r1:192.0.2.1/24:routeros", "192.0.2.1"),
        ("r1::routeros", "r1"),
        ("r1:nil:routeros", "r1"),
        ("r1:not an address:routeros", "r1"),
    ],
)
def test_the_address_is_the_one_that_oxidized_would_use(tmp_path: Path, line: str, host: str) -> None:
    """Without its prefix length; without an address the name is resolved."""
    assert devices(read(tmp_path, PLAIN, line))["r1"].host == host


def test_an_ipv6_address_stands_as_it_is_between_other_delimiters(tmp_path: Path) -> None:
    """Only a colon would cut it."""
    assert (
        devices(read(tmp_path, PLAIN + "    delimiter: ','\n", "r1,2001:DB8::1,routeros"))["r1"].host == "2001:db8::1"
    )


def test_the_nearest_scope_says_user_and_password_each_for_itself(tmp_path: Path) -> None:
    """Node, model within its group, group, model, all: as Oxidized resolves each key."""
    config = """
username: all-user
password: all-pw
source: {csv: {map: {name: 0, model: 1, group: 2, username: 3, password: 4}}}
models: {routeros: {username: model-user, password: model-pw}}
groups:
  g:
    username: group-user
    models: {routeros: {password: within-pw}}
  h: {password: h-pw}
"""
    table = (
        "a:routeros\nb:routeros:g\nc:routeros:h\nd:routeros:g:node-user\ne:routeros:g:node-user:node-pw\nf:mikrotik\n"
    )
    inventory = read(tmp_path, config, table)
    assert logins(inventory) == {
        "a": ("model-user", "model-pw"),
        "b": ("group-user", "within-pw"),
        "c": ("model-user", "h-pw"),
        "d": ("node-user", "within-pw"),
        "e": ("node-user", "node-pw"),
        "f": ("all-user", "all-pw"),
    }
    names = {row.name: row.profile for row in inventory.wanted}
    assert (names["a"], names["b"], names["f"]) == ("oxidized-routeros", "oxidized-g-routeros", "oxidized")
    assert "c" in names
    assert "login of its group and one of its model" in says(inventory)


def test_variables_come_from_the_nearest_too(tmp_path: Path) -> None:
    """The port, and the jump host; `nil` and an empty field say nothing."""
    config = """
username: u
password: p
vars: {ssh_port: 22}
source: {csv: {map: {name: 0, model: 1, group: 2}, vars_map: {ssh_port: 3, ssh_proxy: 4, enable: 5, ssh_proxy_port: 6}}}
groups: {g: {vars: {ssh_port: 2222, ssh_proxy: gate-g}}}
"""
    table = "a:routeros\nb:routeros:g\nc:routeros:g:2201\nd:routeros:g:nil:\ne:routeros::::ena\n"
    table += "f:routeros:::me@gate-f::2022\n"
    inventory = read(tmp_path, config, table)
    assert {name: (row.port, row.jump) for name, row in devices(inventory).items()} == {
        "a": (22, None), "b": (2222, "gate-g"), "c": (2201, "gate-g"), "d": (2222, "gate-g"),
        "e": (22, None), "f": (22, "gate-f"),
    }  # fmt: skip
    assert inventory.jumps == {"gate-g": ("gate-g", 22), "gate-f": ("gate-f", 2022)}
    assert "1 with the variable enable" in says(inventory)


def test_what_cannot_be_taken_over_as_it_is_counts_as_there(tmp_path: Path) -> None:
    """A port that is none, a proxy in another way, a name that is none: listed, and not gone."""
    config = PLAIN + "    vars_map: {ssh_port: 5, ssh_proxy: 6}\n"
    table = "a::routeros:::99999\nb::routeros:::22:-J one,two\nc/d::routeros\n-e::routeros\nf::routeros\nf::routeros\n"
    inventory = read(tmp_path, config, table)
    assert devices(inventory).keys() == {"f"}
    assert inventory.held >= {"a", "b", "c/d", "-e"}
    told = says(inventory)
    for words in (
        "ssh_port is no port",
        "ssh_proxy is not understood",
        "line 3: left out: its name",
        "same name as in",
    ):
        assert words in told


def test_other_models_are_counted_together(tmp_path: Path) -> None:
    """Through the map, also one of expressions; the default model counts for who has none."""
    config = PLAIN + "model: ios\nmodel_map:\n  cisco: ios\n  !ruby/regexp /^mikro/i: routeros\n"
    table = "a::cisco\nb::ios\nc:::\nd::Mikrotik-CCR\ne::junos\n"
    inventory = read(tmp_path, config, table)
    assert devices(inventory).keys() == {"d"}
    assert "3 of model ios: not RouterOS" in says(inventory)
    assert "1 of model junos: not RouterOS" in says(inventory)


def test_a_key_is_taken_from_the_file_that_is_named(tmp_path: Path) -> None:
    """From beside the configuration too; one with a passphrase, or that is none, is told, and the password counts."""
    config = "username: u\npassword: p\nvars: {ssh_keys: [~/.ssh/id_gone, ~/.ssh/id_main]}\n"
    config += "source: {csv: {map: {name: 0, model: 1, group: 2}}}\ngroups: {g: {vars: {ssh_keys: id_locked}}}\n"
    inventory = read(tmp_path, config, "a:routeros\nb:routeros:g\n", id_main=_KEY, id_locked=_LOCKED)
    profiles = {profile.name: profile for profile in inventory.profiles}
    there = devices(inventory)
    key = profiles[there["a"].profile or ""]
    assert (key.private_key, key.password) == (_KEY, None)
    assert profiles[there["b"].profile or ""].password == "p"
    told = says(inventory)
    assert "id_gone cannot be read here" in told
    assert "id_locked needs a passphrase" in told
    assert str(tmp_path / "id_main") in inventory.with_secrets


def test_old_algorithms_are_asked_for_where_oxidized_asks_for_them(tmp_path: Path) -> None:
    """Only there: SHA-1 is nothing to allow for a whole fleet."""
    config = PLAIN + "    vars_map: {ssh_kex: 5, ssh_encryption: 6}\n"
    table = "a::routeros:::diffie-hellman-group14-sha1\nb::routeros:::curve25519-sha256\nc::routeros::::aes128-cbc\n"
    there = devices(read(tmp_path, config, table))
    assert [there[name].legacy_ssh for name in "abc"] == [True, None, True]


def test_users_of_ruby_are_none(tmp_path: Path) -> None:
    """`nil` is nobody, and a password of digits is those digits."""
    config = "username: nil\npassword: 0123\nsource: {csv: {map: {name: 0, model: 1, username: 2}}}\n"
    inventory = read(tmp_path, config, "a:routeros\nb:routeros:me\n")
    assert logins(inventory) == {"b": ("me", "0123")}
    assert "1 without a login" in says(inventory)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("a: [\n  secret: s3cr3t", "line 2"),
        ("- a list", "no configuration of Oxidized"),
        ("source: {csv: {gpg: true}}", "encrypted"),
        ("source: {csv: {delimiter: !ruby/regexp '/(a+)+/'}}", "delimiter"),
        ("source: {csv: {map: {model: 0}}}", "has no name"),
        ("source: {csv: {map: {name: s3cr3t}}}", "names and numbers"),
        ("source: {csv: {map: {name: 99999}}}", "names and numbers"),
    ],
)
def test_what_cannot_be_followed_is_said_without_a_value(tmp_path: Path, config: str, words: str) -> None:
    """Where, and what to do; a configuration is full of passwords."""
    with pytest.raises(InputInvalid) as failed:
        read(tmp_path, config)
    assert words in failed.value.detail
    assert "s3cr3t" not in "".join(traceback.format_exception(failed.value))


def test_a_source_that_is_none_of_ours_brings_the_logins_only(tmp_path: Path) -> None:
    """No device is read, and none counts as gone."""
    inventory = read(tmp_path, "username: u\npassword: p\nsource: {default: sql}\n")
    assert (inventory.complete, [profile.name for profile in inventory.profiles]) == (False, ["oxidized"])
    assert "in a database" in says(inventory)


def test_a_folder_without_its_files_is_not_found(tmp_path: Path) -> None:
    """Neither the configuration nor the table that it names."""
    with pytest.raises(NotFound):
        oxidized.read(tmp_path)
    (tmp_path / "config").write_text("source: {csv: {file: /nowhere/nodes.db}}")
    with pytest.raises(NotFound):
        oxidized.read(tmp_path)


def test_all_of_the_shipped_configuration_is_listed_or_used(tmp_path: Path) -> None:
    """What has no meaning is named; the expression of the prompt is no alarm."""
    config = (
        PLAIN + "threads: 30\nprompt: !ruby/regexp /^([\\w.@-]+[#>]\\s?)$/\ninput: {default: 'telnet'}\nrest: false\n"
    )
    told = says(read(tmp_path, config, "a::routeros\n"))
    assert "without meaning here: prompt, rest, threads" in told
    assert "1 that Oxidized does not reach by SSH" in told
    assert "regular expression" not in told
