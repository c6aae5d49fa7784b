"""What is left out: equal things are counted together, and each is told once, with the first places of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from backupflow.core.importing import Leftover

_PLACES = 5  # that are named; the rest is counted


@dataclass(slots=True)
class Tally:
    """Collects what has no meaning here. Texts are names and sentences of ours, never values that were read."""

    _single: list[Leftover] = field(default_factory=list)
    _counted: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def one(self, where: str, says: str) -> None:
        """Something that stands for itself."""
        found = Leftover(where, says)
        if found not in self._single:
            self._single.append(found)

    def count(self, file: str, says: str, place: str) -> None:
        """One more of a kind: `says` begins with what follows its number, such as `of model ios`."""
        self._counted.setdefault((file, says), []).append(place)

    def all(self) -> tuple[Leftover, ...]:
        """All of it, what stands for itself first."""
        counted = (_together(file, says, places) for (file, says), places in self._counted.items())
        return (*self._single, *counted)


def _together(file: str, says: str, places: list[str]) -> Leftover:
    more = ", …" if len(places) > _PLACES else ""
    return Leftover(f"{file}: {', '.join(places[:_PLACES])}{more}", f"{len(places)} {says}")
