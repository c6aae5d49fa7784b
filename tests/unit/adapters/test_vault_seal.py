"""Which key is the one of a vault's seal, found out without the vault."""

from __future__ import annotations

import io
import os
import tarfile

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from backupflow.adapters.vault.raft import SnapshotJudge
from backupflow.adapters.vault.seal import opens

KEY, OTHER = b"r" * 32, b"o" * 32


def sealed(key: bytes = KEY) -> bytes:
    """As OpenBao writes it: text, nonce, and which key."""
    nonce = os.urandom(12)
    text = AESGCM(key).encrypt(nonce, b"0" * 152, None)
    length = bytes([len(text) & 0x7F | 0x80, len(text) >> 7])
    return b"\n" + length + text + b"\x12\x0c" + nonce + b"*\x12\x1a\x10" + b"d" * 16


def test_a_key_opens_what_its_seal_made_and_no_other_does() -> None:
    """Nor does what is no key, nor anything that is no message."""
    message = sealed()
    assert [opens(key, message) for key in (KEY, OTHER, b"short", b"")] == [True, False, False, False]
    broken = [message[:-19], message[:50], b"", b"\xff" * 40, message.replace(b"\x12\x0c", b"\x12\x0b"), b"\x0d" * 9]
    assert [opens(KEY, one) for one in broken] == [False] * len(broken)


@pytest.mark.parametrize("step", [1, 511, 100_000])
def test_a_snapshot_says_which_key_opens_it(step: int) -> None:
    """However it comes; the files before the last have a say in nothing."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, data in (("state.bin", os.urandom(3000)), ("SHA256SUMS", b"x"), ("SHA256SUMS.sealed", sealed())):
            head = tarfile.TarInfo(name)
            head.size = len(data)
            tar.addfile(head, io.BytesIO(data))
    raw, judge = out.getvalue(), SnapshotJudge()
    for begin in range(0, len(raw), step):
        judge.see(raw[begin : begin + step])
    judge.end()
    assert (judge.opens_with(KEY), judge.opens_with(OTHER)) == (True, False)
