"""A configuration for those who may not see its secrets: each is replaced by `•••`, all else stays as it is.

What is a secret goes by the property (`secrets.is_secret`), and in values that are text, such as scripts and comments,
by what stands around it (`core.redact`). What is not made of tokens is masked whole: nobody knows what is in it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from backupflow.core.redact import MASK, secret_spans
from backupflow.core.tree import EMPTY, FLAG, HEADER, UNSET
from backupflow.drivers.routeros.items import TEXT
from backupflow.drivers.routeros.lexer import decode, encode, tokens
from backupflow.drivers.routeros.menus import is_menu
from backupflow.drivers.routeros.pieces import AS_WRITTEN
from backupflow.drivers.routeros.secrets import is_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from backupflow.core.model import NormalConfig
    from backupflow.core.tree import Parsed

# Where the names of properties, or what selects an item, say nothing of a secret in it.
_DEEP: Final = ("snmp", "container", "zerotier", "app")
# A line without any of these has no secret in it, elsewhere than there.
_HINTS: Final = (
    *("pass", "pw", "psk", "secret", "token", "communit", "cred", "key", "pin", "puk", "cak", "auth", "cookie"),
    *("bearer", "identity", "://", "bot", "hook", "eyj", "github_pat_", "glpat-", "xox", " -u "),
    *("p/w", "psw", "envs", "-p "),
    *("ghp_", "gho_", "ghs_", "ghu_", "ghr_"),
)
_FIGURES: Final = re.compile(r"[0-9]:[A-Za-z0-9_-]{30}")
_SECTION: Final = re.compile(r"/[A-Za-z0-9_-]+(?: [A-Za-z0-9_-]+){0,30}")
_VERB: Final = re.compile(r"(?:add|set|remove|unset|enable|disable|move|reset)(?= |\Z)")  # all that is an item
_AGAIN: Final = re.compile(r" \([0-9]+\)\Z")  # behind a name that an item has twice
_UNSET: Final = re.compile(r"![a-z][a-z0-9.-]*")
_SCRIPTS: Final = frozenset({"source", "script", "do", "cmd", "entrypoint"})
_PLAIN_SELECTORS: Final = frozenset({"find", "default", "yes", "no"})


def masked(normal: NormalConfig) -> str:
    """Give a whole text, line by line."""
    text = normal.decode("ascii", "replace")
    if normal.startswith(AS_WRITTEN):
        first, *rest = text.split("\n")
        return "\n".join([first, *(line and MASK for line in rest)])
    component = HEADER
    lines: list[str] = []
    for line in text.split("\n"):
        if line.startswith("/") and _SECTION.fullmatch(line):
            component = line[1:].replace(" ", "/")
        lines.append(masked_line(component, line))
    return "\n".join(lines)


def masked_line(component: str, text: str) -> str:
    """Give an item, a header's line or a section's, of this component."""
    if component == TEXT or "\n" in text:
        return MASK
    if not text or (text.startswith("/") and is_menu(text[1:].replace(" ", "/"))):
        return text
    if text.startswith("#"):
        return (_without(text.encode(), bytes, prose=True) or text) if _may_hold_some(text) else text
    verb = _VERB.match(text)
    if verb is None:
        return MASK
    if not component.startswith(_DEEP) and not _may_hold_some(text):
        return text
    rest = _masked_tokens(component, text[verb.end() :])
    return MASK if rest is None else verb[0] + rest


def masked_words(component: str, text: str) -> str:
    """Give what selects an item (`[ find name=x ]`, `telnet`)."""
    rest = _masked_tokens(component, " " + text)
    return MASK if rest is None else rest[1:]


def masked_value(component: str, name: str, value: str) -> str:
    """Give the value of a property, spelled as in the normal form: an empty one is no secret."""
    if value in {FLAG, UNSET, EMPTY}:
        return value
    if is_secret(component, name):
        return MASK
    return _masked_text(name, value) if _may_hold_some(value) else value


def masked_names(component: str, items: Sequence[Parsed]) -> Mapping[str, str]:
    """Give those names of properties that may be secrets, as they are shown: words, which have no value.

    Where a secret has no value (`password= x`), any word may be it, in whichever of these items.
    """
    loose = any(
        value in {FLAG, EMPTY} and is_secret(component, name)
        for item in items
        if item.words
        for name, value in item.properties.items()
    )
    shown: dict[str, str] = {}
    for item in items:
        for name, value in item.properties.items() if item.words else ():
            if value in {FLAG, UNSET}:
                word = _AGAIN.sub("", name)
                told = MASK if loose else _masked_word(component, f"!{word}" if value == UNSET else word)
                if told.removeprefix("!") != word:
                    shown[name] = told
    return shown


def _may_hold_some(text: str) -> bool:
    """Tell at a glance."""
    lowered = text.lower()
    return any(hint in lowered for hint in _HINTS) or _FIGURES.search(text) is not None


def _masked_tokens(component: str, text: str) -> str | None:
    """Mask what follows a verb; None if it is not made of tokens."""
    read = tokens(text.encode("ascii", "replace"))
    if read is None:
        return None
    told: list[str] = []
    follows = False  # a secret was named and has no value yet: `password= x`, `password = x`
    for key, value in read:
        if value is None:
            told.append((key or b"").decode())
        elif key is None:
            word = encode(value).decode()
            told.append(MASK if follows and value != b"=" else _masked_word(component, word))
            follows = follows or is_secret(component, word)
        else:
            name = key.decode()
            told.append(f"{name}={masked_value(component, name, encode(value).decode())}")
            follows = not value and is_secret(component, name)
    return "".join(f" {each}" for each in told)


def _masked_word(component: str, word: str) -> str:
    """Mask a word: it may be the name of an item, which some menus take for a secret."""
    if is_secret(component, "name") and word not in _PLAIN_SELECTORS and not word.isdecimal():
        return MASK
    if word.startswith("!"):  # names a property, and nothing else
        return word if _UNSET.fullmatch(word) else MASK
    return _masked_text("", word) if _may_hold_some(word) else word


def _masked_text(name: str, value: str) -> str:
    """Mask what is recognizable in a value that is text."""
    if not value.startswith('"'):
        told = _without(value.encode(), bytes, prose=not _is_script(name))
    else:
        told = _without(decode(value[1:-1].encode()), _inside, prose=not _is_script(name))
    return value if told is None else f'"{told}"'


def _without(text: bytes, write: Callable[[bytes], bytes], *, prose: bool) -> str | None:
    """Write a text without the secrets in it; None if there are none."""
    told: list[str] = []
    at = 0
    for begin, end in secret_spans(text, prose=prose):
        told += write(text[at:begin]).decode(), MASK
        at = end
    return "".join((*told, write(text[at:]).decode())) if told else None


def _inside(text: bytes) -> bytes:
    """Write what stands between the quotes of a string."""
    return encode(b" " + text)[2:-1]  # the blank asks for the quotes


def _is_script(name: str) -> bool:
    return name.startswith("on-") or "script" in name or name in _SCRIPTS
