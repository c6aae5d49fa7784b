"""The jobs that keep the house in order; each is a row in `job`, claimed by beat's tick."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backupflow.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from backupflow.core.ports import HouseStore


def reconcile(store: HouseStore) -> Mapping[str, int]:
    """Mend what disagrees; how many of each kind were mended."""
    return store.mend()


JOBS: Mapping[str, Callable[[HouseStore], Mapping[str, int]]] = {"reconcile": reconcile}


def run(name: str, store: HouseStore) -> Mapping[str, int]:
    """Run a job by its name and record how it went; NotFound for a name that there is not."""
    job = JOBS.get(name)
    if job is None:
        raise NotFound(f"job {name}")
    mended = job(store)
    store.finished(name, ", ".join(f"{kind} {count}" for kind, count in mended.items() if count) or "nothing to do")
    return mended
