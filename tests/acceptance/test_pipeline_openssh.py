"""The whole way from a real sshd to a file: every export comes back byte for byte, however one logs in."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING

import pytest

from backupflow.core.driver import Asking, Reading, Reply
from backupflow.core.model import RawConfig, SecretsPolicy
from backupflow.drivers import driver
from backupflow.drivers.routeros.completeness import major_version
from backupflow.flows import enroll
from tests.acceptance.install import PATIENT, Install, wait_for
from tests.acceptance.openssh import WAYS, Dialect, OpenSshServer, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = PATIENT

SESSION, CONNECTION = "Starting session", "Connection from"  # as sshd logs them


@dataclass
class Router:
    """An sshd that takes one kind of login and speaks like one version, enrolled as a device of the same name."""

    name: str
    way: str
    dialect: Dialect
    server: OpenSshServer
    normal_forms: dict[bytes, bytes] = field(default_factory=dict)

    def answers(self, export: bytes) -> bytes:
        """Answer this from now on; gives what `export` then gives: of equal ones the first (I16)."""
        self.server.set_answer(export, self.dialect)
        return self.normal_forms.setdefault(driver("routeros").normalize(RawConfig(export)), export)

    def enrol(self, install: Install, folder: Path) -> None:
        """By `device add`, the login from stdin or from private files."""
        argv = [
            "device",
            "add",
            self.name,
            "127.0.0.1",
            "--port",
            str(self.server.port),
            "--username",
            self.server.user,
        ]
        if self.way != "publickey":
            install.command(*argv, "--password-stdin", stdin=self.server.password.encode())
            return
        key, passphrase = folder / f"{self.name}.key", folder / f"{self.name}.passphrase"
        for file, text in ((key, self.server.key_path.read_text("ascii")), (passphrase, self.server.passphrase)):
            file.touch(0o600)
            file.write_text(text)
        install.command(*argv, "--key-file", str(key), "--passphrase-file", str(passphrase))


@pytest.fixture(scope="module")
def routers(ssh_account: tuple[str, str]) -> Iterator[list[Router]]:
    """One for each kind of login that there is on this machine, and each version."""
    with ExitStack() as stack:
        yield [
            Router(f"{dialect}-{way}", way, dialect, stack.enter_context(serving(*ssh_account, methods=(way,))))
            for way in WAYS
            for dialect in ("v6", "v7")
        ]


@pytest.fixture(scope="module")
def install(collecting: Install) -> Install:
    """What is not asked for is collected once, at once."""
    return collecting


@pytest.fixture(scope="module")
def rounds(exports: dict[str, bytes], size: str) -> list[dict[Dialect, bytes]]:
    """What the two versions answer, round by round: 2.4 MB, CRLF, raw 8-bit bytes, and real ones, the largest first.

    A file that lost its last line ending is no answer that a router gives: what the judge of answers does not take is
    left out, for it is not to be stored (tests/unit/drivers holds that).
    """
    high = bytes(range(0x80, 0x100))
    exports = exports | {"made: 8-bit": b'# by RouterOS 6.49\r\n/system note\r\nset note="' + high + b'"\r\n'}
    whole = {name: text for name, text in exports.items() if is_whole(text)}
    assert sum(map(len, whole.values())) > 2_400_000
    real = sorted((text for name, text in whole.items() if not name.startswith("made")), key=len, reverse=True)
    if size == "small":
        traits = (real, [text for text in real if not text.isascii()], [text for text in real if b"\r\n" in text])
        real = list(dict.fromkeys(text for found in traits for text in found[:1]))
    chosen = [text for name, text in whole.items() if name.startswith("made")] + real
    by_dialect = [[text for text in chosen if dialect_of(text) == dialect] for dialect in ("v6", "v7")]
    # The shorter one is filled up with its first: it comes again, which is a change like any other.
    return [{"v6": old or by_dialect[0][0], "v7": new or by_dialect[1][0]} for old, new in zip_longest(*by_dialect)]


def test_every_export_comes_back_byte_for_byte_from_the_whole_pipeline(
    install: Install, routers: list[Router], rounds: list[dict[Dialect, bytes]], tmp_path: Path, size: str
) -> None:
    """Collected, sealed, published, stored and downloaded; in files that their owner alone may read."""
    names = [router.name for router in routers]
    for number, answers in enumerate(rounds):
        expected = {router.name: router.answers(answers[router.dialect]) for router in routers}
        before = {router.name: sessions(router) for router in routers}
        if number == 0:
            enrol_all(install, routers, tmp_path)
        else:  # each of these exports is another router's, and collected at once
            install.forget_meetings()
            replace_all(install, names, names if size == "soak" else names[:1] if number == 1 else [])
        wait_for_stored(install, names, len(routers) * (number + 1))
        for router in routers:
            assert sessions(router) - before[router.name] == commands_to_a_stranger(router), router.name
        # By its command one of each version in the first round: a process costs more than all else here.
        by_command = names if size == "soak" else names[:2] if number == 0 else []
        given = download(install, by_command, tmp_path, number)
        assert [path.stat().st_mode & 0o7777 for path in given.values()] == [0o600] * len(by_command)
        texts = {name: path.read_bytes() for name, path in given.items()}
        texts |= {name: install.exported(name) for name in names if name not in texts}
        assert {name: text == expected[name] for name, text in texts.items()} == dict.fromkeys(names, True)
    before = {router.name: sessions(router) for router in routers}
    install.forget_meetings()
    install.command("backup", *names, "--wait")
    assert {router.name: sessions(router) - 1 for router in routers} == before  # what works is remembered
    check_history(install, routers, len(rounds) + 1)


def each(names: list[str], act: Callable[[str], object]) -> None:
    """Do it for each, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(act, names))


def enrol_all(install: Install, routers: list[Router], folder: Path) -> None:
    """Enrol the devices: each is collected by itself, at once."""
    for router in routers:
        router.enrol(install, folder)


def wait_for_stored(install: Install, names: list[str], observations: int) -> None:
    """Wait until so many of these were stored in all."""
    stored_of = (
        "SELECT c.id FROM collection c JOIN device d ON d.id = c.device_id "
        "WHERE c.state = 'stored' AND d.name = ANY(:names)"
    )

    def stored() -> bool:
        return len(install.rows(stored_of, names=names)) == observations

    wait_for(stored, f"{observations} observations", 60)


def download(install: Install, names: list[str], folder: Path, number: int) -> dict[str, Path]:
    """`export` each."""
    given = {name: folder / f"{name}.{number}.rsc" for name in names}
    each(names, lambda name: install.command("export", name, "-o", str(given[name])))
    return given


def replace_all(install: Install, names: list[str], by_command: list[str]) -> None:
    """`device replaced` each; the others by its code."""
    each(by_command, lambda name: install.command("device", "replaced", name, "--yes"))
    for name in names[len(by_command) :]:
        enroll.replaced(install.wiring.enroll_ports("test"), install.tenant_id, name)


def check_history(install: Install, routers: list[Router], rounds: int) -> None:
    """One session a collection, over one connection with one login; each its command, and all of them stored."""
    for router in routers:
        command = {"v6": "/export", "v7": "/export show-sensitive"}[router.dialect]
        rows = install.rows(
            "SELECT state, code, command FROM collection WHERE device_id = (SELECT id FROM device WHERE name = :name)",
            name=router.name,
        )
        assert [tuple(row) for row in rows] == [("stored", None, command)] * rounds, router.name
        assert router.server.log.count(CONNECTION) == rounds, router.name
        assert router.server.log.count(f"Accepted {logged(router.way)} for") == rounds, router.name
        assert "Failed" not in router.server.log


def commands_to_a_stranger(router: Router) -> int:
    """The export, which version 6 gives at the second try, and whether the router repeats an end mark."""
    return {"v6": 3, "v7": 2}[router.dialect]


def sessions(router: Router) -> int:
    """How many commands the router was given so far."""
    return router.server.log.count(SESSION)


def logged(way: str) -> str:
    """What sshd calls a kind of login."""
    return f"{way}/pam" if way == "keyboard-interactive" else way


def is_whole(export: bytes) -> bool:
    """Whether it is one that is taken off the wire."""
    asking = Asking(SecretsPolicy.COLLECT, None)
    return isinstance(driver("routeros").read(asking, [Reply("/export show-sensitive", export, b"", 0)]), Reading)


def dialect_of(export: bytes) -> Dialect:
    """The version that gives such an export."""
    return "v6" if (major_version(export) or 6) < 7 else "v7"


def test_a_file_that_is_there_is_not_replaced(install: Install, routers: list[Router], tmp_path: Path) -> None:
    """`export -o` refuses before it reads anything, unless it is told to."""
    there = tmp_path / "there.rsc"
    there.write_bytes(b"mine")
    assert install.command("export", routers[0].name, "-o", str(there), check=False).returncode == 73
    assert there.read_bytes() == b"mine"
