"""The file of a backup of the system: opened by others what we seal, and by us what others seal; whole or not there."""

from __future__ import annotations

import fcntl
import io
import os
import stat
import subprocess
import sys
import tarfile
from base64 import b64decode
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyrage
import pytest

import backupflow
from backupflow.adapters import copies as files
from backupflow.adapters.copies import passphrase
from backupflow.adapters.vault.raft import SnapshotJudge
from backupflow.core.system_backup import Member
from backupflow.errors import AlreadyThere, BackupUnreadable, InputInvalid, NotFound, VaultUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import Size

WORDS = "correct horse battery"
THEIRS = (  # by `age -p`, with these words
    "YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IHNjcnlwdCBvd2lSOXVvKzhzM20xUVlNVkxWbDZ3IDE4CnFCU2xEc01EN3hlZEY5Qmh6UkdlVm40T2c5"
    "VjhVejZ2Zk40V2RWOU8xNUEKLS0tIEdhQXhyM05INGQ3c3pDSkpjeUJwZ0dtcGY1ZVc4Skk1LzVncW4xcUhtY0EKVkYGKFVsLRepBFnYz5dUaeHi"
    "2cxo2TAn+8OS19niRqnwdVSZ1anrJD/qgoP1EAM="
)
CHUNK = 64 * 1024
NOW = datetime(2026, 11, 22, tzinfo=UTC)
KEY = pyrage.x25519.Identity.generate()
MEMBERS = [Member("README.txt", b"read me"), Member("database/000001", b"x" * 300_000), Member("manifest.json", b"")]


@pytest.fixture
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrap the key with little work: what is tested comes after it."""
    monkeypatch.setattr(passphrase, "_LOG_N", 10)


def sealed(plain: bytes, words: str = WORDS) -> bytes:
    """By us."""
    out = bytearray()
    passphrase.seal(io.BytesIO(plain), out.extend, words)
    return bytes(out)


def unsealed(text: bytes, words: str = WORDS) -> bytes:
    """By us."""
    out = bytearray()
    passphrase.unseal(io.BytesIO(text), out.extend, words)
    return bytes(out)


@pytest.mark.usefixtures("_fast")
@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 17])
def test_another_implementation_of_age_opens_what_we_seal(size: int) -> None:
    """At each edge of its chunks; and we do."""
    plain = os.urandom(size)
    assert pyrage.passphrase.decrypt(sealed(plain), WORDS) == plain
    assert unsealed(sealed(plain)) == plain


def test_we_open_what_another_implementation_sealed() -> None:
    """By Debian's age 1.1.1, with as much work as it asks for."""
    assert unsealed(b64decode(THEIRS)) == b"a configuration"


@pytest.mark.usefixtures("_fast")
def test_another_passphrase_opens_nothing() -> None:
    """And that is what is told: nothing was altered."""
    with pytest.raises(BackupUnreadable, match="this passphrase does not open it"):
        unsealed(sealed(b"a configuration"), "another one")


@pytest.mark.usefixtures("_fast")
@pytest.mark.parametrize(
    "harm",
    [
        lambda raw: raw[:-1],
        lambda raw: raw[: -(17 + 16)],  # all of its last chunk
        lambda raw: raw + b"x",
        lambda raw: raw[:-40] + bytes([raw[-40] ^ 1]) + raw[-39:],
        lambda raw: raw[:-30_000] + bytes([raw[-30_000] ^ 1]) + raw[-29_999:],
        lambda raw: raw.replace(b"scrypt", b"scrupt", 1),
        lambda raw: raw[:60],
        lambda raw: raw.replace(b" 10\n", b" 25\n", 1),
        lambda raw: b"",
    ],
)
def test_no_harm_goes_unseen(harm: Callable[[bytes], bytes]) -> None:
    """Cut off anywhere, longer, a bit of it another one, or asking for more memory than there is."""
    with pytest.raises(BackupUnreadable):
        unsealed(harm(sealed(b"y" * (2 * CHUNK + 17))))


@pytest.mark.usefixtures("_fast")
@pytest.mark.parametrize("by_key", [True, False])
def test_what_is_written_is_read_by_us_and_by_tar(tmp_path: Path, by_key: bool) -> None:
    """Both ways of sealing, through the file; and by tar, with nothing of ours."""
    file = tmp_path / "it.age"
    lock = files.Recipients([str(KEY.to_public())]) if by_key else files.Passphrase(WORDS)
    key = files.Identities(f"# comment\n{KEY}\n") if by_key else files.Passphrase(WORDS)
    written = write(file, lock)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert written.bytes == file.stat().st_size
    assert files.sealed_by_passphrase(file) is not by_key
    with files.opened(file, key) as plain:
        assert list(files.members_of(plain)) == MEMBERS
    raw = file.read_bytes()
    plain_tar = pyrage.decrypt(raw, [KEY]) if by_key else pyrage.passphrase.decrypt(raw, WORDS)
    listed = subprocess.run(["tar", "-t"], input=plain_tar, capture_output=True, check=True).stdout
    assert listed.decode().split() == [member.name for member in MEMBERS]


def write(file: Path, lock: files.Lock, *, force: bool = False) -> files.Written:
    """The members."""
    return files.write_whole(
        file, lambda write: files.sealed_chunks(files.tar_of(MEMBERS, NOW), lock, write), force=force
    )


def filling(text: bytes) -> Callable[[Callable[[bytes], int]], None]:
    """What writes this, and no more."""

    def fill(write: Callable[[bytes], int]) -> None:
        write(text)

    return fill


def look(file: Path, key: files.Identities | files.Passphrase) -> list[Member]:
    """All members."""
    with files.opened(file, key) as plain:
        return list(files.members_of(plain))


def test_a_file_for_a_key_says_why_it_does_not_open(tmp_path: Path) -> None:
    """Another key, no key, a passphrase, cut off in the middle or by its last byte, altered, no file of age at all."""
    file = tmp_path / "it.age"
    write(file, files.Recipients([str(KEY.to_public())]))
    mine = files.Identities(str(KEY))
    cases: list[tuple[files.Identities | files.Passphrase, str]] = [
        (files.Identities(str(pyrage.x25519.Identity.generate())), "another one"),
        (files.Identities("no key in here"), "no key"),
        (files.Identities("AGE-SECRET-KEY-1NONSENSE"), "cannot be understood"),
        (files.Passphrase(WORDS), "sealed for a key"),
    ]
    for key, why in cases:
        with pytest.raises((BackupUnreadable, InputInvalid), match=why):
            look(file, key)
    raw = file.read_bytes()
    for harmed in (raw[:-1], raw[: len(raw) // 2], raw[:5000] + b"?" + raw[5001:], raw + b"x"):
        file.write_bytes(harmed)
        with pytest.raises(BackupUnreadable, match="cut off or altered"):
            look(file, mine)
    file.write_bytes(b"PK..")
    with pytest.raises(BackupUnreadable, match="not sealed by age"):
        files.sealed_by_passphrase(file)
    with pytest.raises(NotFound):
        files.sealed_by_passphrase(tmp_path / "none")


def test_a_tar_that_is_none_of_ours_is_refused(tmp_path: Path) -> None:
    """Whoever has the public key can seal anything: links, giants, and no tar at all."""
    giant, link = tarfile.TarInfo("database/000001"), tarfile.TarInfo("secrets/seal.key")
    giant.size, link.type, link.linkname = 2**40, tarfile.SYMTYPE, "/etc/passwd"
    for raw in (giant.tobuf(), link.tobuf(), b"no tar at all" * 100):
        with pytest.raises(InputInvalid):
            list(files.members_of(io.BytesIO(raw + bytes(1024))))


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    """What fails in the middle leaves nothing, and what was there before stays; a killed one's draft is taken over."""
    file = tmp_path / "it.age"
    lock = files.Recipients([str(KEY.to_public())])

    def failing(write: Callable[[bytes], int]) -> None:
        write(b"begun")
        raise VaultUnavailable("gone")

    with pytest.raises(VaultUnavailable):
        files.write_whole(file, failing, force=False)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".it.age.unfinished").write_bytes(b"of one that was killed" * 100_000)
    written = write(file, lock)
    assert [path.name for path in tmp_path.iterdir()] == ["it.age"]
    with pytest.raises(AlreadyThere, match="--force"):
        write(file, lock)
    with pytest.raises(VaultUnavailable):
        files.write_whole(file, failing, force=True)
    assert file.stat().st_size == written.bytes
    assert write(file, lock, force=True).sha256 != written.sha256
    for force in (False, True):
        with pytest.raises(InputInvalid, match="is a folder"):
            write(tmp_path, lock, force=force)


def test_who_interrupts_it_is_told_that_there_is_no_file(tmp_path: Path) -> None:
    """As the last thing that a person sees of it."""

    def interrupted(_write: Callable[[bytes], int]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="no file was written"):
        files.write_whole(tmp_path / "it.age", interrupted, force=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("force", [False, True])
def test_who_comes_as_another_ends_harms_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool) -> None:
    """The draft that it opened is the whole file of the other when it has its turn."""
    file, lock = tmp_path / "it.age", fcntl.flock
    first = files.Written(0, "")

    def late(fd: int, how: int) -> None:
        nonlocal first
        monkeypatch.setattr(fcntl, "flock", lock)
        first = files.write_whole(file, filling(b"first"), force=False)
        lock(fd, how)

    monkeypatch.setattr(fcntl, "flock", late)
    if force:
        second = files.write_whole(file, filling(b"second"), force=True)
        assert (file.read_bytes(), second.bytes) == (b"second", 6)
    else:
        with pytest.raises(AlreadyThere, match="--force"):
            files.write_whole(file, filling(b"second"), force=False)
        assert (file.read_bytes(), first.bytes) == (b"first", 5)
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_in_memory_is_not_where_a_backup_stays(tmp_path: Path) -> None:
    """As /tmp of a container; what is known of the mounts is what the kernel tells."""
    with pytest.raises(InputInvalid, match="in memory"):
        files.require_lasting(Path("/dev/shm/it.age"))
    files.require_lasting(tmp_path / "there is none" / "it.age")
    files.require_lasting(Path("/proc/it.age"))


def test_what_was_killed_as_it_ended_is_not_written_into(tmp_path: Path) -> None:
    """The whole file had its name already, and the draft, another name of it, was still there."""
    file, kept = tmp_path / "it.age", tmp_path / "kept.age"
    file.write_bytes(b"whole")
    (tmp_path / ".it.age.unfinished").hardlink_to(file)
    file.rename(kept)
    files.write_whole(file, filling(b"new"), force=False)
    assert (kept.read_bytes(), file.read_bytes()) == (b"whole", b"new")


def test_a_full_disk_is_one_line_and_no_file(tmp_path: Path) -> None:
    """No room is left after the first megabyte: the limit on the size of a file stands for it."""
    script = """
import resource, signal, sys
from pathlib import Path
from backupflow.adapters import copies as files
from backupflow.errors import InputInvalid
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
lock = files.Recipients([sys.argv[2]])
try:
    files.write_whole(Path(sys.argv[1]),
        lambda write: files.sealed_chunks((bytes(100_000) for _ in range(50)), lock, write), force=False)
except InputInvalid as exc:
    print(exc)
"""
    argv = [sys.executable, "-c", script, str(tmp_path / "it.age"), str(KEY.to_public())]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, env=surroundings())
    assert "cannot be written: File too large" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("by_key", [True, False])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, size: Size, by_key: bool) -> None:
    """Sealed and opened again in a process of its own, whose memory before and at its peak is told (scrypt's apart)."""
    script = """
import resource, sys
from datetime import UTC, datetime
from pathlib import Path
from backupflow.adapters import copies as files
from backupflow.adapters.copies import passphrase
from backupflow.core.system_backup import PART_BYTES, parts
passphrase._LOG_N = 10
file, size = Path(sys.argv[1]), int(sys.argv[2])
lock = files.Recipients([sys.argv[3]]) if sys.argv[3] else files.Passphrase("x")
key = files.Identities(sys.argv[4]) if sys.argv[3] else files.Passphrase("x")
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before = peak()
tar = files.tar_of(parts("database", (bytes(1 << 20) for _ in range(size))), datetime.now(UTC))
files.write_whole(file, lambda write: files.sealed_chunks(tar, lock, write), force=False)
with files.opened(file, key) as plain:
    assert sum(len(member.data) for member in files.members_of(plain)) == size << 20
print(peak() - before)
"""
    mib = 300 if size == "soak" else 100
    given = [str(tmp_path / "it.age"), str(mib), str(KEY.to_public()) if by_key else "", str(KEY)]
    done = subprocess.run(
        [sys.executable, "-c", script, *given], capture_output=True, text=True, check=True, env=surroundings()
    )
    assert int(done.stdout) < 70, f"{done.stdout.strip()} MiB for a file of {mib}"


def surroundings() -> dict[str, str]:
    """With the tree that is tested."""
    return {**os.environ, "PYTHONPATH": str(Path(backupflow.__file__).parents[1])}


def test_a_snapshot_that_was_cut_off_is_told() -> None:
    """Its last file, a check sum under the seal, is missing although it ends well; or it ends in the middle."""

    def snapshot(*names: str) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:gz") as tar:
            for name in names:
                head = tarfile.TarInfo(name)
                head.size = 700
                tar.addfile(head, io.BytesIO(os.urandom(700)))
        return out.getvalue()

    def judge(raw: bytes) -> None:
        judging = SnapshotJudge()
        for begin in range(0, len(raw), 100):
            judging.see(raw[begin : begin + 100])
        judging.end()

    good = snapshot("meta.json", "state.bin", "SHA256SUMS", "SHA256SUMS.sealed")
    judge(good)
    for bad in (snapshot("meta.json", "state.bin"), good[:-1], good[:200], b"", b"not gzip at all"):
        with pytest.raises(VaultUnavailable):
            judge(bad)
