"""What is drawn from a router's seed: the same in every process, different for every router and purpose."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backupflow.simulator.spec import RouterSpec

_ALPHABET = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
PLACES = (
    "attic",
    "barn",
    "cellar",
    "depot",
    "foyer",
    "garage",
    "harbour",
    "kiosk",
    "library",
    "mill",
    "office",
    "yard",
)


def drawn(spec: RouterSpec, *what: object) -> random.Random:
    """The generator of one purpose: the same router, seed and purpose draw the same values in every process."""
    return random.Random("/".join(map(str, (spec.seed, spec.name, *what))))


def serial(spec: RouterSpec) -> str:
    """The serial number, drawn if the specification leaves it open."""
    return spec.serial or "".join(drawn(spec, "serial").choices("0123456789ABCDEF", k=12))


def software_id(spec: RouterSpec) -> str:
    """The software id, such as `K3TP-77QX`."""
    letters = drawn(spec, "software id").choices("ABCDEFGHIJKLMNPQRSTUVWXYZ0123456789", k=8)
    return "".join(letters[:4]) + "-" + "".join(letters[4:])


def word(dice: random.Random, length: int = 14) -> str:
    """A password as people generate them."""
    return "".join(dice.choices(_ALPHABET, k=length))


def address(dice: random.Random) -> str:
    """A host in 10.0.0.0/8."""
    bits = dice.getrandbits(24)
    return f"10.{bits >> 16}.{bits >> 8 & 255}.{bits & 255}"


def place(dice: random.Random) -> str:
    """Words for a comment."""
    return f"{dice.choice(PLACES)} {dice.randrange(1, 400)}"
