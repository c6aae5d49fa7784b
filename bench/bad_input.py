"""What a hostile router could send: 16 MiB each, judged and normalized in a process of its own.

Prints the CPU seconds of both and the memory that they took beyond the text. `--search N` then alters the slowest of
them N times, at random, and keeps what is slower still.
"""

from __future__ import annotations

import argparse
import gc
import random
import re
import resource
import time
from typing import TYPE_CHECKING, Final

from backupflow.core.driver import Complete
from backupflow.core.model import RawConfig
from backupflow.drivers.routeros.completeness import judge
from backupflow.drivers.routeros.normal import normalize
from bench.alone import alone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SIZE: Final = 16 * 1024 * 1024
HEADER: Final = b"# 2024-01-15 10:30:00 by RouterOS 7.14\n# software id = ABCD-EFGH\n#\n# model = RB5009UG+S+\n"
START: Final = HEADER + b"/ip firewall address-list\n"
LIMIT: Final = 2.0  # seconds, judge and normalize together
WIDTH: Final = 78


def filled(unit: bytes, start: bytes = START, end: bytes = b"") -> bytes:
    """Repeat a unit up to 16 MiB."""
    return start + unit * ((SIZE - len(start) - len(end)) // len(unit)) + end


def numbered(line: str, start: bytes = START, *, wrap: bool = False) -> bytes:
    """Write lines with a number in them up to 16 MiB."""
    text, size, number = [start], len(start), 0
    while size < SIZE:
        written = line.replace("%n", str(number)).replace("%h", f"{number % 250}").encode()
        text.append(wrapped(written) if wrap else written + b"\r\n")
        size, number = size + len(text[-1]), number + 1
    return b"".join(text[:-1])


def wrapped(line: bytes) -> bytes:
    """Wrap a line as RouterOS does."""
    parts, inside = [b""], False
    for piece in re.findall(rb"\\[0-9A-F]{2}|\\.|[^\\]", line):
        if len(parts[-1]) >= WIDTH and (inside or piece != b" "):
            parts.append(b"    ")
            parts[-1] += rb"\_" if piece == b" " else piece
        else:
            parts[-1] += piece
        inside ^= piece == b'"'
        if inside and piece == rb"\n":
            parts.append(b"    ")
    return b"\\\r\n".join(parts) + b"\r\n"


def scripts() -> bytes:
    """Write scripts, each some lines long."""
    source = b"".join(
        rb":local a%d [/ip address find where interface=\"ether%d\"]\n# a comment \$x\n:log info \"x\\n\"\r\n"
        % (number, number)
        for number in range(20)
    )
    return filled(wrapped(b'add name=s source="' + source + b'"'), HEADER + b"/system script\n")


REALISTIC: Final[dict[str, Callable[[], bytes]]] = {
    "real: address list": lambda: numbered("add address=10.%h.%h.%h list=b"),
    "real: address list, terse": lambda: numbered("/ip firewall address-list add address=10.%h.%h.%h list=b", HEADER),
    "real: address list, Cyrillic": lambda: numbered(r'add address=10.0.%h.%h comment="\CF\EE\E0\CF\EE\E0" list=b'),
    "real: address list, UTF-8": lambda: numbered(
        'add address=10.0.%h.%h comment="\u0434\u043e\u043c \u2116 %n" list=b'
    ),
    "real: PPP secrets": lambda: numbered(
        'add comment="Mr %n of the road, house 7" local-address=10.0.0.1 name=user%n password="x!%n" profile=home',
        HEADER + b"/ppp secret\n",
        wrap=True,
    ),
    "real: CAPsMAN": lambda: numbered(
        "add channel.band=2ghz-b/g/n .frequency=2412,2437 .width=20 configuration.country=germany .mode=ap "
        '.ssid="net %n" disabled=no name=cfg%n security.authentication-types=wpa2-psk .passphrase="secret %n"',
        HEADER + b"/interface wifi configuration\n",
        wrap=True,
    ),
    "real: selectors": lambda: numbered(
        "set [ find default-name=ether%n ] name=e%n", HEADER + b"/interface ethernet\n"
    ),
    "real: scripts": scripts,
    "real: sections of 2 items": lambda: numbered(
        "/ip thing%n\nset enabled=yes name=x%n a=b c=d\n# ether1 not ready\nadd x=%n comment=abcdef", HEADER
    ),
}
BAD: Final[dict[str, Callable[[], bytes]]] = {
    "one word": lambda: filled(b"x"),
    "one value": lambda: filled(b"x", START + b"add a="),
    "one string": lambda: filled(b"x ", START + b'add a="', b'"\n'),
    "one string of escaped quotes": lambda: filled(rb"\"", START + b'add a="', b'"\n'),
    "one open string of escaped quotes": lambda: filled(rb"\"", START + b'add a="'),
    "one string of escapes": lambda: filled(rb"\41", START + b'add a="', b'"\n'),
    r"one string of \_": lambda: filled(rb"\_", START + b'add a="', b'"\n'),
    r"one string of \CF/\_": lambda: filled(rb"\CF/\_", START + b'add a="', b'"\n'),
    r"one string of \CF": lambda: filled(rb"\CF", START + b'add a="', b'"\n'),
    "ragged lines": lambda: filled(b']\\  \t \r\n\tb "x"1x y"]]', START + b"add "),
    r"only \ ": lambda: filled(b"\\", b""),
    r"only \, in an item": lambda: filled(b"\\", START + b"add a="),
    'only "': lambda: filled(b'"', b""),
    'only ", in an item': lambda: filled(b'"', START + b"add "),
    'only "" ': lambda: filled(b'"" ', START + b"add "),
    'only "x" ': lambda: filled(b'"x" ', START + b"add "),
    "only [": lambda: filled(b"[", START + b"add "),
    "only [ ]": lambda: filled(b" [ ]", START + b"add"),
    "only []": lambda: filled(b"[]", START + b"add ", b"\n"),
    "as many prefixes as are read": lambda: START + (b"set a.b=1" + b" .c=1" * 40 + b"\n") * 20_000,
    "as many odd tokens as are read": lambda: START + b"add" + b" a=" * 430_000 + b"\n",
    "as many odd lines as are read": lambda: START + b"add  a=b\n" * 90_000,
    "odd lines of 2.4 MB": lambda: numbered("add a=%n b= c=d e=f g=h i=j k=l m=n o=p q=r s=t u=v w=x" + " y=z" * 12)[
        :2_400_000
    ],
    "16 MiB of runs, then odd lines": lambda: (
        filled(b"add a=b c=d e=f g=h i=j k=l\n")[: SIZE - 400_000] + b"\nadd  a=b" * 40_000 + b"\n"
    ),
    "brackets in brackets": lambda: START + b"add " + b"[ " * (SIZE // 4) + b"] " * (SIZE // 4 - 99) + b"\n",
    "quotes in quotes": lambda: START + b'add a="' + b'\\"' * (SIZE // 4) + b'"' * 9 + b"\n",
    "only =": lambda: filled(b"=", START + b"add "),
    "only a= ": lambda: filled(b"a= ", START + b"add "),
    "only .c=1 ": lambda: filled(b".c=1 ", START + b"add a.b=1 "),
    "only a ": lambda: filled(b" a", START + b"add"),
    "only bytes": lambda: filled(b" \xff", START + b"add"),
    "only #": lambda: filled(b"#", b""),
    "only # lines": lambda: filled(b"#\n"),
    "# lines first": lambda: filled(b"# x = y\n", HEADER),
    r"# lines that end in \ ": lambda: filled(b"# x\\\n"),
    r"1,200,000 # lines that end in \ ": lambda: START + b"# x\\\n" * 1_200_000 + b"add x=1\n",
    "#interrupted": lambda: filled(b"#interrupted\n"),
    "#error exporting": lambda: numbered("#error exporting /a%n"),
    "one comment, by RouterOS": lambda: filled(b"by RouterOSx ", START + b"#"),
    "comments, by RouterOS": lambda: filled(b"#by RouterOSx\n"),
    "only /": lambda: filled(b"/", b""),
    "only / lines": lambda: filled(b"/\n", b""),
    "only /a lines": lambda: filled(b"/a\n"),
    "a path of words": lambda: filled(b"/a", START),
    "a path of words and blanks": lambda: filled(b" a", START + b"/a"),
    "1,000,000 sections": lambda: b"".join((START, *(b"/a%d\nadd x=1\n" % n for n in range(1_000_000)))),
    "600,000 sections": lambda: b"".join((START, *(b"/a%d\nadd x=1\n" % (n % 9) for n in range(600_000)))),
    "600,000 sections, the same": lambda: START + b"/a\nadd x=1 y=2\n" * 600_000,
    "1,000,000 device comments": lambda: START + b"# x not ready\n" * 1_000_000 + b"add x=1\n",
    "600,000 device comments, items": lambda: START + b"# x not ready\nadd x=1\n" * 600_000,
    "tiny items": lambda: filled(b"set\n"),
    "tiny items, as many as are read": lambda: START + b"set a=b c=d\n" * 1_249_000,
    "tiny unusual items": lambda: START + b"add  a=b\n" * 330_000,
    "tiny bracket items": lambda: START + b"add ]\n" * 330_000,
    "terse items, each of another section": lambda: numbered("/a%n set x=1", HEADER),
    "sections with /": lambda: numbered("/a/b%h\nset x=1", HEADER),
    "wraps in an item": lambda: filled(b"\\\n", START + b"add ", b"a=b\n"),
    "wraps and blanks": lambda: filled(b"a\\\n   ", START + b"add ", b"a=b\n"),
    "only blanks": lambda: filled(b" ", b""),
    "only blanks, in an item": lambda: filled(b" ", START + b"add a=b", b"x"),
    "blanks before line ends": lambda: filled(b" " * 99 + b"\n", START),
    "only tabs": lambda: filled(b"\t", START + b"add a=b", b"x"),
    "only line ends": lambda: filled(b"\n", b""),
    "only CR": lambda: filled(b"\r", b""),
    "CR LF": lambda: filled(b"\r\n"),
    "only NUL": lambda: filled(b"\0", b""),
    "NUL here and there": lambda: filled(b"add a=\0\n"),
    "only ESC": lambda: filled(b"\x1b", b""),
    "ESC sequences": lambda: filled(b"\x1b[m", START),
    "ESC sequences and letters": lambda: filled(b"\x1b[ma", START + b"add a="),
    "ESC ] never ended": lambda: filled(b"\x1b]x", START),
    "bidi characters": lambda: filled("\u202ex".encode(), START + b'add a="', b'"\n'),
    "bidi in strings": lambda: filled('add comment="\u202ea\u202c"\n'.encode()),
    "every byte": lambda: filled(bytes(range(256)), b""),
    "noise": lambda: random.Random(1).randbytes(SIZE),
    "noise of a configuration": lambda: noise(random.Random(2), START),
}
PARTS: Final = (
    rb'add|set|/ip dns|/ip|#| a=b| a="x y"| .b=1| c.d=2| [ find ]| [|]|"|\|\\|\_|\CF|\41|=|x| "x"| a=|# by RouterOS 7'
).split(b"|")
BREAKS: Final = (b"\n", b"\n", b"\r\n", b"\\\n    ", b"\t", b"  ", b"\xff")


def noise(dice: random.Random, start: bytes) -> bytes:
    """Throw parts of a configuration together."""
    return filled(b"".join(dice.choices((*PARTS, *BREAKS), k=5000)), start)


def measured(text: bytes) -> tuple[float, float, float, str]:
    """Give CPU seconds of judge and normalize, MiB beyond the text, and the verdict; for a process of its own."""
    gc.collect()
    before = _resident()
    began = time.process_time()
    judged = judge(text)
    between = time.process_time()
    normalize(RawConfig(text))
    ended = time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    verdict = "complete" if isinstance(judged, Complete) else judged.reason.value
    return between - began, ended - between, peak - before, verdict


def _resident() -> float:
    """Give the resident memory of this process, MiB."""
    with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123  (no file system in between)
        return int(statm.read().split()[1]) * resource.getpagesize() / 1024**2


def altered(dice: random.Random, unit: bytes) -> bytes:
    """Change a unit a little."""
    parts = (*PARTS, *BREAKS)
    at = dice.randrange(len(unit) + 1)
    cut = dice.randrange(4)
    return (unit[:at] + dice.choice((b"", *parts)) + unit[at + cut :])[:400] or b"x"


def search(rounds: int, seed: int) -> Iterator[tuple[int, float, bytes, bytes]]:
    """Look for something slower, greedily: yields each record with its number, the unit and what stood before it."""
    dice = random.Random(seed)
    slowest, unit, start = 0.0, b"add  a=b\n", START
    for number in range(rounds):
        fresh = number % 10 == 0
        candidate = b"".join(dice.choices((*PARTS, *BREAKS), k=dice.randrange(1, 9))) if fresh else altered(dice, unit)
        head = dice.choice((START, START + b"add ", START + b'add a="', HEADER, b"", start))
        judging, normalizing, _, _ = alone(measured, filled(candidate, head))
        if judging + normalizing > slowest:
            slowest, unit, start = judging + normalizing, candidate, head
            yield number, slowest, unit, start


def main() -> None:
    """Print a table, and what a search found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="a part of the names to run")
    parser.add_argument("--search", type=int, default=0, metavar="N", help="alter the slowest so many times")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    print(f"{'16 MiB of':40} {'judge':>6} {'normal':>6} {'both':>6} {'MiB':>5}")
    for name, text in (REALISTIC | BAD).items():
        if asked.only in name:
            judging, normalizing, memory, verdict = alone(measured, text()[:SIZE])
            both = judging + normalizing
            late = "  SLOW" if both > LIMIT else ""
            print(f"{name:40} {judging:6.2f} {normalizing:6.2f} {both:6.2f} {memory:5.0f}  {verdict}{late}", flush=True)
    for number, seconds, unit, start in search(asked.search, asked.seed):
        print(f"try {number}: {seconds:.2f} s: {start[-10:]!r}, then {unit!r} over and over", flush=True)
    print(f"{asked.search} tries")


if __name__ == "__main__":
    main()
