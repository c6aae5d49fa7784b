"""RANCID: `rancid.conf` names the groups, `GROUP/router.db` their devices, `.cloginrc` the logins.

Only devices that are `up` are collected by RANCID, and wanted here. Names are in lower case, as RANCID has them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from backupflow.adapters.inventories.cloginrc import Cloginrc
from backupflow.adapters.inventories.logins import Found, Logins, is_key, is_locked, plain
from backupflow.adapters.inventories.rancid_conf import groups_of, types_of
from backupflow.adapters.inventories.tally import Tally
from backupflow.adapters.inventories.texts import LARGEST_KEY, Texts
from backupflow.core.importing import Wanted
from backupflow.core.syncing import Inventory
from backupflow.errors import BackupflowError, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from backupflow.adapters.inventories.cloginrc import Directive

SOURCE = "rancid"
_STATES = frozenset({"up", "down", "ticketed"})
_NEW = re.compile(r"([^;]+);([^;]*);([^;]*)(?:;(.*))?")
_OLD = re.compile(r"([^:;]+):([^:]*):([^:]*)(?::(.*))?")
_METHOD = re.compile(r"(ssh|telnet|rsh)(?::([0-9]{1,5}))?")
_PORT = re.compile(r"(?:^|\s)-(?:p\s*|o\s*Port\s*=\s*)([0-9]{1,5})(?=\s|$)")
_WAY = re.compile(r"(?:^|\s)-(?:J|W|o\s*Proxy|F)")
_JUMP = re.compile(r"(?:^|\s)-(?:J\s*|o\s*ProxyJump\s*=\s*)(?:[^@\s]+@)?([A-Za-z0-9_.-]+)(?=\s|$)")
_GLOB = re.compile(r"[*?\[\]{}\\]+")
_HIGHEST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Router:
    """One line of a `router.db`."""

    where: str
    line: int
    group: str
    name: str
    type: str
    state: str


def read(folder: Path, cloginrc: Path | None = None) -> Inventory:
    """All that a folder of RANCID says; `cloginrc` where it is not in that folder."""
    if not folder.is_dir():
        raise NotFound(f"{folder} is not a folder")
    return _Reading(folder).inventory(cloginrc)


@dataclass(slots=True)
class _Reading:
    folder: Path
    texts: Texts = field(default_factory=Texts)
    tally: Tally = field(default_factory=Tally)
    logins: Logins = field(default_factory=lambda: Logins(SOURCE))
    held: set[str] = field(default_factory=set)
    keys: dict[str, str | None] = field(default_factory=dict)

    def inventory(self, file: Path | None) -> Inventory:
        says = Cloginrc(self.texts, self.tally)
        self._read_logins(says, file)
        ours = types_of(self.folder, self.texts)
        routers = list(self._routers())
        wanted = [made for router in routers if self._is_ours(router, ours) and (made := self._wanted(router, says))]
        return Inventory(
            SOURCE,
            tuple(wanted),
            self.logins.profiles(),
            self.tally.all(),
            held=frozenset(self.held),
            jumps={row.jump: (row.jump, 22) for row in wanted if row.jump},
            stems=self.logins.stems,
            with_secrets=tuple(self.texts.with_secrets),
            exposed=tuple(self.texts.exposed),
            places={router.line: router.where for router in routers},
        )

    def _read_logins(self, says: Cloginrc, file: Path | None) -> None:
        beside = self.folder / ".cloginrc"
        if file is None and not beside.is_file():
            self.tally.one(".cloginrc", "is not in this folder: no logins were read; name it with --cloginrc FILE")
            return
        says.read(file or beside)

    def _routers(self) -> Iterator[Router]:
        number = 0
        for group, path in groups_of(self.folder, self.texts, self.tally):
            file = f"{group}/router.db"
            for at, line in enumerate(self.texts.read(path).split("\n"), 1):
                if not line.strip() or line.lstrip().startswith("#"):
                    continue
                number += 1
                fields = _fields(line)
                if fields is None:
                    self.tally.count(file, "not understood: left out", f"line {at}")
                    continue
                yield Router(f"{file} line {at}", number, group, *fields)

    def _is_ours(self, router: Router, types: frozenset[str]) -> bool:
        file, _, place = router.where.partition(" ")
        if router.type not in types:
            self.tally.count(file, f"of type {plain(router.type) or '(none)'}: not RouterOS", place)
        elif router.state != "up":
            self.tally.count(file, f"of state {plain(router.state) or '(none)'}: only what is up is collected", place)
        else:
            return True
        return False

    def _wanted(self, router: Router, says: Cloginrc) -> Wanted | None:
        file, _, place = router.where.partition(" ")
        way = says.first("sshcmd", router.name)
        command = " ".join(way.values) if way else ""
        jump = _JUMP.search(command)
        if _WAY.search(command) and not jump:
            self.tally.count(file, "reached in a way of its own (add sshcmd): left out", place)
            self.held.add(router.name)
            return None
        return Wanted(
            router.name,
            router.name,
            self._port(router, says.first("method", router.name), command),
            self._profile(router, says),
            plain(router.group) or None,
            jump=jump[1] if jump else None,
            line=router.line,
        )

    def _port(self, router: Router, method: Directive | None, command: str) -> int:
        file, _, place = router.where.partition(" ")
        methods = (
            [_METHOD.fullmatch(word.lower()) for value in method.values for word in value.split()] if method else []
        )
        ssh = next((found for found in methods if found and found[1] == "ssh"), None)
        if method and ssh is None:
            self.tally.count(file, "that RANCID does not reach by SSH: SSH is tried here", place)
        stated = _PORT.search(command)
        number = int(stated[1] if stated else (ssh[2] if ssh and ssh[2] else 22))
        if 1 <= number <= _HIGHEST_PORT:
            return number
        self.tally.count(file, "with a port that is none: 22 is taken", place)
        return 22

    def _profile(self, router: Router, says: Cloginrc) -> str | None:
        file, _, place = router.where.partition(" ")
        user, password = says.first("user", router.name), says.first("password", router.name)
        own = says.first("userpassword", router.name) or password
        identity, phrase = says.first("identity", router.name), says.first("passphrase", router.name)
        locked_by = phrase.values[0] if phrase else None
        key = self._key(identity.values[0], locked_by) if identity else None
        if user is None:
            self.tally.count(file, "without a user in .cloginrc (RANCID would use its own): no login", place)
            return None
        if key is None and own is None:
            self.tally.count(file, "without a password or a key in .cloginrc: no login", place)
            return None
        if password and password.values[1:]:
            self.tally.count(file, "with a second password, to enable: it has no meaning here", place)
        if key and own:
            self.tally.count(file, "with a key and a password: the key is taken", place)
        glob = _GLOB.sub("", (identity if key and identity else own or user).glob).strip("-. ")
        if key:
            return self.logins.name(Found(user.values[0], None, key, locked_by if is_locked(key) else None), glob)
        return self.logins.name(Found(user.values[0], own.values[0] if own else None), glob)

    def _key(self, path: str, passphrase: str | None) -> str | None:
        if path not in self.keys:
            self.keys[path] = self._read_key(path, passphrase)
        return self.keys[path]

    def _read_key(self, path: str, passphrase: str | None) -> str | None:
        asked = Path(path).expanduser()
        beside = self.folder / asked.name
        file = beside if beside.is_file() else asked
        next_step = "make the login with `backupflow credential add NAME --key-file FILE`"
        try:
            text = self.texts.read(file, LARGEST_KEY)
        except BackupflowError:
            self.tally.one(".cloginrc", f"the key {path} cannot be read here: {next_step}")
            return None
        if not is_key(text) or (is_locked(text) and not passphrase):
            why = "needs a passphrase, and none is given" if is_key(text) else "is no private key"
            self.tally.one(".cloginrc", f"{path} {why}: {next_step}")
            return None
        self.texts.holds_secrets(file)
        return text


def _fields(line: str) -> tuple[str, str, str] | None:
    """Name, type and state, all in lower case: since RANCID 3 between `;`, before between `:`."""
    found = [match for pattern in (_NEW, _OLD) if (match := pattern.fullmatch(line.strip()))]
    fields: Sequence[tuple[str, str, str]] = [
        (match[1].strip().lower(), match[2].strip().lower(), match[3].strip().lower()) for match in found
    ]
    return next((each for each in fields if each[2] in _STATES), fields[0] if fields else None)
