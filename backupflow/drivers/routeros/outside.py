"""What of a normal form stands outside of its strings: scripts and comments may say anything.

All of it by a few passes over the whole text: a hostile one has millions of strings. In a normal form, which is
printable, a string ends in its line, and a quote or backslash inside a string is escaped; so every other
quote opens one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_BACKSLASHES, _QUOTE = b"\x01", b"\x02"  # stand for the two escapes that matter
_MEANING: Final = b"=[]!\\" + _BACKSLASHES + _QUOTE
_MUTED: Final = b"\x03\x05\x06\x07\x08\x0e\x0f"
_MUTE: Final = bytes.maketrans(_MEANING, _MUTED)
_UNMUTE: Final = bytes.maketrans(_MUTED, _MEANING)
EMPTY: Final = b"\x04"  # stands for an empty value
_CHUNK: Final = 1 << 17  # bytes; what is done at a time takes some ten times as much memory


def chunks(text: bytes) -> Iterator[bytes]:
    """Cut at line ends; each begins with the end of the line before and ends with that of its last."""
    at = 0
    while at < len(text):
        end = text.find(b"\n", at + _CHUNK)
        end = len(text) if end < 0 else end
        yield b"\n%b\n" % text[at:end]
        at = end + 1


def mute(text: bytes) -> bytes | None:
    """Let equal signs, brackets, exclamation marks and escapes mean something outside of strings only.

    None if a string does not end in its line. `unmute` is the inverse.
    """
    parts = _parts(text)
    if parts is None or len(parts) == 1:
        return parts[0] if parts else None
    parts[1::2] = b'"'.join(parts[1::2]).translate(_MUTE).split(b'"')
    return b'"'.join(parts)


def unmute(text: bytes) -> bytes:
    """Give back what `mute` took."""
    return text.translate(_UNMUTE).replace(_QUOTE, rb"\"").replace(_BACKSLASHES, rb"\\")


def outside(text: bytes) -> bytes | None:
    """Write each string as a quote, and an empty value as `EMPTY`; None if a string does not end in its line."""
    parts = _parts(text.replace(b'="" ', b"=%b " % EMPTY).replace(b'=""\n', b"=%b\n" % EMPTY))
    return None if parts is None else b'"'.join(parts[::2])


def _parts(text: bytes) -> list[bytes] | None:
    """Split at quotes that are not escaped: every other part is the inside of a string."""
    if b"\\" in text:
        text = text.replace(rb"\\", _BACKSLASHES).replace(rb"\"", _QUOTE)
    parts = text.split(b'"')
    return None if len(parts) % 2 == 0 or b"\n" in b'"'.join(parts[1::2]) else parts
