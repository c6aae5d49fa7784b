"""A node of Oxidized -> the device that is wanted here, and what of the node has no meaning here."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from backupflow.adapters.inventories.logins import Found, is_key, is_locked, plain
from backupflow.adapters.inventories.texts import LARGEST_KEY
from backupflow.core.importing import Wanted
from backupflow.errors import BackupflowError

if TYPE_CHECKING:
    from backupflow.adapters.inventories.logins import Logins
    from backupflow.adapters.inventories.oxidized_nodes import Node
    from backupflow.adapters.inventories.oxidized_scopes import Scope, Scopes
    from backupflow.adapters.inventories.ruby_yaml import Value
    from backupflow.adapters.inventories.tally import Tally
    from backupflow.adapters.inventories.texts import Texts

MODELS = frozenset({"routeros", "mikrotik"})
_OLD = re.compile(r"sha1\b|ssh-rsa\b|ssh-dss|-cbc\b|hmac-md5|arcfour", re.IGNORECASE)
_OF_OLD_SSH = ("ssh_kex", "ssh_host_key", "ssh_hmac", "ssh_encryption")
_OF_THE_WAY = frozenset({"ssh_port", "ssh_proxy", "ssh_proxy_port", "ssh_keys", "remove_secret", *_OF_OLD_SSH})
_PROXY = re.compile(r"(?:[^@\s]+@)?\[?([A-Za-z0-9_.:-]+?)\]?")
_HIGHEST_PORT = 65535


@dataclass(slots=True)
class Wishes:
    """Makes one device after the other; reads the private keys that the configuration names, each once."""

    scopes: Scopes
    config: Path
    table: str
    texts: Texts
    tally: Tally
    logins: Logins
    jumps: dict[str, tuple[str, int]] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)  # RouterOS though not wanted as it is: not gone
    _keys: dict[str, str | None] = field(default_factory=dict)

    def scopes_first(self) -> None:
        """Name the logins of the scopes before any of a node, so that their names never depend on the table."""
        for scope, wider in self.scopes.with_wider():
            both = (scope, *wider)
            username = next((each.username for each in both if each.username), None)
            password = next((each.password for each in both if each.password), None)
            key = self._key_of(next((said for each in both if (said := each.vars.get("ssh_keys"))), None))
            if username and (key or password) and _speaks_of_login(scope):
                self.logins.name(Found(username, None if key else password, key), scope.name, fixed=True)

    def of(self, node: Node) -> Wanted | None:
        """The device; None if it is none of ours, or cannot be one yet."""
        model = node.model or self.scopes.model or ""
        where = f"line {node.line}"
        if model.lower() not in MODELS:
            self.tally.count(self.table, f"of model {plain(model) or '(none)'}: not RouterOS", where)
            return None
        scopes = self.scopes.nearest(node.group, model)
        words = _words(node, scopes)
        self._tell(node, scopes, words)
        port = _port(words.get("ssh_port"))
        if words.get("ssh_port") and port is None:
            self.tally.count(self.table, "whose ssh_port is no port: left out", where)
            self.held.add(node.name)
            return None
        way = _jump(words)
        if way == "":
            self.tally.count(self.table, "whose ssh_proxy is not understood: left out", where)
            self.held.add(node.name)
            return None
        if way:
            self.jumps.setdefault(way, (way, _port(words.get("ssh_proxy_port")) or 22))
        found = self._login(node, scopes, words)
        return Wanted(
            node.name,
            node.ip or node.name,
            port or 22,
            self.logins.name(*found) if found else None,
            plain(node.group) if node.group else None,
            jump=way,
            legacy_ssh=True if any(_OLD.search(str(words.get(name, ""))) for name in _OF_OLD_SSH) else None,
            line=node.line,
        )

    def _login(self, node: Node, scopes: tuple[Scope, ...], words: dict[str, Value]) -> tuple[Found, str] | None:
        """The login, and what its profile is called after: the nearest scope that says a part of it."""
        own = node.username or node.password or node.vars.get("ssh_keys")
        username = node.username or next((scope.username for scope in scopes if scope.username), None)
        password = node.password or next((scope.password for scope in scopes if scope.password), None)
        key = self._key_of(words.get("ssh_keys"))
        if username is None or (password is None and key is None):
            self.tally.count(self.table, "without a login: name one with --profile, or of a group", f"line {node.line}")
            return None
        of = username if own else next((scope.name for scope in scopes if _speaks_of_login(scope)), "")
        if key and password:
            self.tally.count(self.table, "with a key and a password: the key is taken", f"line {node.line}")
        return Found(username, None if key else password, key), of

    def _key_of(self, given: Value) -> str | None:
        paths = [path for path in (given if isinstance(given, list) else [given]) if isinstance(path, str) and path]
        return next((key for path in paths if (key := self._key(path))), None)

    def _key(self, path: str) -> str | None:
        if path not in self._keys:
            self._keys[path] = self._read_key(path)
        return self._keys[path]

    def _read_key(self, path: str) -> str | None:
        asked = Path(path).expanduser()
        beside = self.config.parent / asked.name
        file = beside if beside.is_file() else asked
        next_step = "make the login with `backupflow credential add NAME --key-file FILE`, and name it with --profile"
        try:
            text = self.texts.read(file, LARGEST_KEY)
        except BackupflowError:
            self.tally.one(self.config.name, f"the key {path} cannot be read here: {next_step}")
            return None
        if not is_key(text) or is_locked(text):
            why = "needs a passphrase, which Oxidized does not tell" if is_key(text) else "is no private key"
            self.tally.one(self.config.name, f"{path} {why}: {next_step}")
            return None
        self.texts.holds_secrets(file)
        return text

    def _tell(self, node: Node, scopes: tuple[Scope, ...], words: dict[str, Value]) -> None:
        """What else is said of this node."""
        where = f"line {node.line}"
        for name in sorted(set(words) - _OF_THE_WAY):
            self.tally.count(self.table, f"with the variable {plain(name)}: it has no meaning here", where)
        if words.get("remove_secret") == "true":
            scope = f"group edit {shlex.quote(plain(node.group))}" if node.group else "tenant edit default"
            says = f"with remove_secret: to leave the secrets on the routers, `backupflow {scope} --secrets omit`"
            self.tally.count(self.table, says, where)
        inputs = node.input or next((scope.input for scope in scopes if scope.input), "ssh")
        if "ssh" not in re.split(r"\s*,\s*", inputs.strip()):
            self.tally.count(self.table, "that Oxidized does not reach by SSH: SSH is tried here", where)
        if node.name != plain(node.name):
            self.tally.count(self.table, "whose name has what a name cannot have here", where)
        if node.group and node.group != plain(node.group):
            self.tally.one(self.table, f"the group {node.group} is called {plain(node.group)} here")
        model = next((scope for scope in scopes if scope is self.scopes.models.get((node.model or "").lower())), None)
        group = self.scopes.groups.get(node.group or "")
        if model and group and (group.password and model.password) and not node.password:
            says = "with a login of its group and one of its model: the group's is taken, as since Oxidized 0.29"
            self.tally.count(self.table, says, where)


def _speaks_of_login(scope: Scope) -> bool:
    return bool(scope.username or scope.password or scope.vars.get("ssh_keys"))


def _words(node: Node, scopes: tuple[Scope, ...]) -> dict[str, Value]:
    """Its variables, each from where it is said nearest."""
    words: dict[str, Value] = {}
    for given in (*(scope.vars for scope in reversed(scopes)), node.vars):
        words.update({name: value for name, value in given.items() if value not in (None, "", "nil", "false")})
    return words


def _port(given: Value) -> int | None:
    if not isinstance(given, str) or not given.strip().isdecimal() or len(given.strip()) > 5:  # noqa: PLR2004
        return None
    number = int(given)
    return number if 1 <= number <= _HIGHEST_PORT else None


def _jump(words: dict[str, Value]) -> str | None:
    """The host that Oxidized passes (`ssh [user@]HOST -W`); None: none, empty: it is said in another way."""
    given = words.get("ssh_proxy")
    if given is None:
        return None
    found = _PROXY.fullmatch(given.strip()) if isinstance(given, str) else None
    return found[1] if found else ""
