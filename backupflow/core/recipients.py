"""For whom a file is sealed: the public keys of age, as a person names them. What is no such key is never repeated."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from backupflow.errors import InputInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_RECIPIENTS: Final = 20
_RECIPIENT: Final = re.compile(r"age1[02-9ac-hj-np-z]{58}")
_PLUGIN: Final = re.compile(r"age1[0-9a-z+._-]{1,40}1[02-9ac-hj-np-z]{6,}")  # the name of a plugin, and its data
_SECRET: Final = re.compile(r"AGE-(SECRET-KEY|PLUGIN)-|PRIVATE KEY", re.IGNORECASE)
_SSH: Final = re.compile(r"(ssh|ecdsa|sk)-")
_MAKE: Final = "`age-keygen -o key.txt` makes a pair, and says the public one, age1…"


def recipients(named: Iterable[str], in_file: Iterable[str] = ()) -> tuple[str, ...]:
    """The public keys of age of a command line and of a file, each once.

    InputInvalid says what is wrong with one that is none, and repeats nothing of it: it may be a secret.
    """
    found = [*_keys(named, _SAID_IN_A_COMMAND), *_keys(in_file, _SAID_IN_A_FILE)]
    unique = tuple(dict.fromkeys(found))
    if not unique:
        raise InputInvalid("no recipient was named: --recipient age1…")
    if len(unique) > MOST_RECIPIENTS:
        raise InputInvalid(f"{len(unique)} recipients; at most {MOST_RECIPIENTS} can open one file")
    return unique


_SAID_IN_A_COMMAND: Final = (
    "that is a secret key: give the public one, age1…, and make a new pair, for this one is known by now to whoever "
    "reads the history of this shell"
)
_SAID_IN_A_FILE: Final = (
    "there is a secret key in that file: it is the one that opens. Give the public one, age1…, which "
    "`age-keygen -y FILE` says, and keep the secret one where neither this machine nor its backups are"
)


def _keys(lines: Iterable[str], if_secret: str) -> list[str]:
    found = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    for one in found:
        if not _RECIPIENT.fullmatch(one):
            raise InputInvalid(if_secret if _SECRET.search(one) else _why_not(one))
    return found


def _why_not(one: str) -> str:
    if _SSH.match(one):
        return (
            "keys of SSH are not taken: make a pair for this alone with `age-keygen -o key.txt`, and keep it where no "
            "router's password is"
        )
    if _PLUGIN.fullmatch(one):
        return f"keys of plugins are not taken: on the day that counts the file must open with age alone; {_MAKE}"
    if one.startswith("age1"):
        return f"not a public key of age, which has 62 characters, all of them small: was it cut, or mistyped? {_MAKE}"
    return f"not a public key of age: {_MAKE}"
