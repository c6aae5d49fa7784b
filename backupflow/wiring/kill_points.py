"""Kill points: this process dies, as by SIGKILL, before or after a chosen call of a port's method. For tests only.

BACKUPFLOW_KILL_POINT=PORT.METHOD:WHEN:NTH[:TIMES:FOLDER], such as `CollectionStore.publish:after:2:1:/some/folder`

- PORT.METHOD: a Protocol of core.ports and one of its methods
- WHEN: `before` the call does anything, or `after` it has returned: its work is done, and nobody will ever learn of it.
  Of what opens a context (Collector.session) that is before it is entered, and after it was left without a failure
- NTH: of the calls in the life of one process, from 1
- TIMES, FOLDER: so many processes die, however many are started; each leaves one file in the folder, which proves that
  the point was reached. Without them every process dies that comes so far

It is no setting, and `up` does not hand it on to its processes. Where it is not set nothing here is built: the ports
are the adapters themselves.
"""

from __future__ import annotations

import inspect
import os
import re
import threading
from contextlib import AbstractContextManager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from backupflow.core import ports
from backupflow.errors import SettingsInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

VARIABLE: Final = "BACKUPFLOW_KILL_POINT"
STATUS: Final = 137  # what a shell says of a process that SIGKILL ended: 128 + 9
_SYNTAX: Final = "PORT.METHOD:before|after:NTH[:TIMES:FOLDER]"
_WORDS: Final = re.compile(r"(\w+\.\w+):(before|after):([1-9]\d{0,5})(?::([1-9]\d{0,2}):(/.+))?")
_OPENS: Final = re.compile(r"AbstractContextManager\[(\w+)\]")

T = TypeVar("T")


def methods() -> tuple[str, ...]:
    """Every method of every port, as `PORT.METHOD`."""
    return tuple(f"{port.__name__}.{name}" for port in _ports().values() for name in _methods_of(port))


class KillPoint:
    """Where this process dies; counts the calls of all its threads."""

    def __init__(self, method: str, when: str, nth: int, deaths: Deaths | None = None) -> None:
        self.method = method
        self.when = when
        self.nth = nth
        self._deaths = deaths
        self._calls = 0
        self._counting = threading.Lock()

    def __str__(self) -> str:
        return f"{self.method}:{self.when}:{self.nth}"

    def wrap(self, player: T, *played: type) -> T:
        """The same object with the chosen method replaced, if it is one of the `played` ports'; else the object itself.

        The wrapper is an instance of a subclass that shares the object's state; the replaced method itself runs in the
        object, as ever.
        """
        replaced: dict[str, Callable[..., Any]] = {}
        for port in played:
            for name, declared in _methods_of(port).items():
                mine = self.method == f"{port.__name__}.{name}"
                context = _OPENS.fullmatch(str(declared.__annotations__.get("return", "")))
                opens = _ports().get(context[1]) if context else None
                if context and (mine or (opens and self.method.startswith(f"{opens.__name__}."))):
                    replaced[name] = self._context(getattr(player, name), opens, mine=mine)
                elif mine:
                    replaced[name] = self._call(getattr(player, name))
        return _replacing(player, replaced) if replaced else player

    def reached(self, when: str) -> None:
        """Called before and after each call of the method; returns unless this is the one to die at."""
        if when != self.when:
            return
        with self._counting:
            self._calls += 1
            if self._calls != self.nth:
                return
        if self._deaths is None or self._deaths.take(str(self)):
            os.write(2, f"{VARIABLE}: {self} is reached, this process dies\n".encode())
            os._exit(STATUS)

    def _call(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def call(_self: object, *args: object, **kwargs: object) -> object:
            self.reached("before")
            result = method(*args, **kwargs)
            self.reached("after")
            return result

        return call

    def _context(self, method: Callable[..., Any], opens: type | None, *, mine: bool) -> Callable[..., Any]:
        @wraps(method)
        def call(_self: object, *args: object, **kwargs: object) -> object:
            return _Context(self, method(*args, **kwargs), opens, mine=mine)

        return call


class Deaths:
    """Counts deaths over processes: a file in the folder for each, made by whoever dies."""

    def __init__(self, times: int, folder: Path) -> None:
        self._times = times
        self._folder = folder

    def take(self, point: str) -> bool:
        """Whether one more is to die here."""
        for number in range(1, self._times + 1):
            try:
                token = os.open(self._folder / f"{point}.{number}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            except FileExistsError:
                continue
            os.write(token, b"%d\n" % os.getpid())
            return True
        return False


class _Context(AbstractContextManager[object]):
    """A context that a port opens; its value may be a port too."""

    def __init__(
        self, point: KillPoint, opened: AbstractContextManager[object], opens: type | None, *, mine: bool
    ) -> None:
        self._point = point
        self._opened = opened
        self._opens = opens
        self._mine = mine

    def __enter__(self) -> object:
        if self._mine:
            self._point.reached("before")
        value = self._opened.__enter__()
        return self._point.wrap(value, self._opens) if self._opens else value

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        swallowed = self._opened.__exit__(kind, exc, trace)
        if self._mine and kind is None:
            self._point.reached("after")
        return swallowed


def asked_for(environment: Mapping[str, str]) -> KillPoint | None:
    """What the variable asks for, None if it is not set; SettingsInvalid if it cannot be understood."""
    text = environment.get(VARIABLE)
    if not text:
        return None
    words = _WORDS.fullmatch(text)
    if words is None:
        raise SettingsInvalid(f"{VARIABLE} is not {_SYNTAX}")
    method, when, nth, times, folder = words.groups()
    if method not in methods():
        raise SettingsInvalid(f"{VARIABLE}: no port has a method {method}")
    if folder is not None and not Path(folder).is_dir():
        raise SettingsInvalid(f"{VARIABLE}: {folder} is not a folder")
    return KillPoint(method, when, int(nth), Deaths(int(times), Path(folder)) if folder else None)


def _ports() -> dict[str, type]:
    """The Protocols that core.ports defines."""
    return {
        name: thing
        for name, thing in vars(ports).items()
        if isinstance(thing, type) and thing.__module__ == ports.__name__ and getattr(thing, "_is_protocol", False)
    }


def _methods_of(port: type) -> dict[str, Callable[..., Any]]:
    """What a port declares itself; properties are no calls."""
    return {name: thing for name, thing in vars(port).items() if inspect.isfunction(thing) and name[0] != "_"}


def _replacing(player: T, replaced: Mapping[str, Callable[..., Any]]) -> T:
    kind = type(player)
    wrapper: T = object.__new__(type(kind.__name__, (kind,), {**replaced, "__module__": kind.__module__}))
    wrapper.__dict__ = player.__dict__
    return wrapper
