"""What can be compared of two exports without their texts: how much there is, in which menus, and what is no secret.

Works on the normal form, whose tokens are canonical: one blank between them. So plain searches find the few places that
matter, only what stands around them is looked at, and time is linear.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from backupflow.core.driver import Outline
from backupflow.drivers.routeros.outside import chunks, mute, unmute
from backupflow.drivers.routeros.secrets import MENUS, ending, hidden_keys, may_hold_some

if TYPE_CHECKING:
    from backupflow.core.model import NormalConfig

_MOST_SECTIONS: Final = 10_000  # RouterOS has some 400 menus; what a text has beyond this is taken as it is
_MOST_STEPS: Final = 1_000_000  # tokens and more; beyond this no secrets are masked or counted
_STEPS_OF_A_SECRET: Final = 3

_GONE: Final = b"\x04"  # stands where a secret stood
# In a muted text: an item that has nothing left but its selector and words, where there was a secret.
_EMPTIED: Final = re.compile(rb"\n[a-z]++(?: \[[^\]\n]*+\])?+[^=!\[\n\x04]*+\x04[^=!\[\n]*+(?=\n)")
_STRING: Final = rb'"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+"'
# `set [ find default=yes ]` and `set 0` do nothing: some routers that hide secrets print what is left of such an item,
# some do not.
_IDLE: Final = re.compile(
    rb'\nset(?: \[(?:[^\]"\n]++|' + _STRING + rb')*+\]| [^ !="\[\]\n][^ ="\[\]\n]*+| ' + _STRING + rb")?+(?=\n)"
)


def outline(normal: NormalConfig) -> Outline:
    """Outline a normal form.

    Its masked form has nothing that looks like a secret, no items that are nothing without, no sections without items,
    and one section line for neighbours of one path: the same whether the router showed its secrets or not.
    """
    header, *parts = (b"\n" + normal).split(b"\n/", _MOST_SECTIONS)
    drawn = _Drawn()
    drawn.masked.update(header.removesuffix(b"\n"))
    rest = parts.pop() if len(parts) == _MOST_SECTIONS else b""
    for part in parts:
        path, _, items = part.partition(b"\n")
        drawn.add(b"/" + path, items.removesuffix(b"\n"))
    drawn.shape.update(rest)
    drawn.masked.update(rest)
    return Outline(len(drawn.paths), len(normal), drawn.secrets, drawn.shape.digest(), drawn.masked.digest())


@dataclass(slots=True)
class _Drawn:
    """An outline in the making."""

    paths: set[bytes] = field(default_factory=set)
    secrets: int = 0
    shape: hashlib._Hash = field(default_factory=hashlib.sha256)
    masked: hashlib._Hash = field(default_factory=hashlib.sha256)
    left: int = _MOST_STEPS
    last: bytes = b""  # the path whose section line was masked last

    def add(self, path: bytes, items: bytes) -> None:
        self.paths.add(path)
        self.shape.update(b"%b %d\n" % (path, items.count(b"\n") + 1))
        for chunk in chunks(items):
            text = _IDLE.sub(b"", self._without_secrets(path, chunk))
            if len(text) > 1:
                if path != self.last:
                    self.masked.update(b"\n" + path)
                    self.last = path
                self.masked.update(text[:-1])

    def _without_secrets(self, path: bytes, text: bytes) -> bytes:
        """Mask some items, and count the secrets in them that a router would hide: an empty one is none."""
        if self.left <= 0 or not may_hold_some(text.lower()) or (muted := mute(text)) is None:
            return text
        whole, hidden = _PATTERNS.get(path, _ANYWHERE)
        parts = whole.split(muted)
        gone = parts[1::2]
        self.left -= muted.count(b" ") + _STEPS_OF_A_SECRET * len(gone)
        self.secrets += len(hidden.findall(b"".join(gone) + b" "))
        masked = _GONE.join(parts[::2])
        return unmute(_EMPTIED.sub(b"", masked).replace(_GONE, b"")) if gone else text


def _patterns(menu: bytes) -> tuple[re.Pattern[bytes], ...]:
    """Give what finds a property that looks like a secret; and one that routers hide."""
    whole = rb'( [^ ="\n]*+=' + ending(menu) + rb'(?:"[^"\n]*+"|[^ "\n]*+))(?=[ \n])'
    hidden = rb"[ .](?:" + "|".join(map(re.escape, sorted(hidden_keys(menu)))).encode() + rb')=(?!(?:"")?+ )'
    return re.compile(whole, re.IGNORECASE), re.compile(hidden)


_ANYWHERE: Final = _patterns(b"")
_PATTERNS: Final = {menu: _patterns(menu) for menu in MENUS}
