"""What each act on a host key changes: (the record as it stands, what a person says) -> Update; None: nothing to do.

A first key is approved, a changed one accepted: whoever means one must not take the other by mistake. A device has a
first key as long as none is pinned and none is expected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backupflow.core.enrolment import KEY_BLOCKS, NO_WORD, UNBLOCKED, due_now, keys_in_use
from backupflow.core.inventory import DeviceRecord, SeenKey, Update, checked_fingerprint
from backupflow.core.model import ExpectedKey, TrustedHow
from backupflow.core.named_keys import on_offer
from backupflow.core.scopes import HopRecord, ScopeUpdate
from backupflow.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupflow.core.model import HostKey


def key_accepted(record: DeviceRecord, fingerprint: str) -> Update:
    """The offered key becomes the pinned one, in place of another that is pinned or was expected.

    Conflict if that key is not the one on offer (any more), or is a first one. A new key is no new router: its exports
    are compared as before, and another serial number blocks it. Nor does it allow SHA-1 anew: whoever could forge the
    key would ask for just that.
    """
    chosen = on_offer(record, checked_fingerprint(fingerprint))
    if not record.pinned and not record.expected:
        raise Conflict(
            f"{record.name} has no host key yet that could have changed: a first one takes `hostkey approve`"
        )
    return _pinned(record, chosen, TrustedHow.ACCEPTED)


def key_approved(record: DeviceRecord, fingerprint: str) -> Update | None:
    """The first key becomes the pinned one; of a device that has shown none it will be the only one that may.

    Said of the key that is pinned already, it is on record that a person has compared it. Conflict if another one is
    pinned, expected, or on offer.
    """
    fingerprint = checked_fingerprint(fingerprint)
    pinned, expected = record.pinned, {key.fingerprint for key in record.expected}
    if pinned and pinned.key.fingerprint == fingerprint:
        return vouched(pinned, TrustedHow.APPROVED)
    if pinned:
        raise Conflict(f"{record.name} has another host key pinned: a changed one takes `hostkey accept`")
    if expected and fingerprint not in expected:
        raise Conflict(
            f"{record.name} is expected to have another host key: {', '.join(sorted(expected))}; if that is wrong, "
            "`device edit --fingerprint`, or `hostkey accept` for the one that it offers"
        )
    if record.offered:
        return _pinned(record, on_offer(record, fingerprint), TrustedHow.APPROVED)
    return None if expected else _expected(record, (ExpectedKey(fingerprint, TrustedHow.APPROVED),))


def key_known(record: DeviceRecord, keys: Sequence[HostKey]) -> Update | None:
    """What follows from the keys that a known_hosts file has for it: expected, or known better than before.

    Conflict if another one is pinned or expected. A pinned key of a type that is not among them stays as it is.
    """
    if record.pinned is not None:
        return vouched(record.pinned, TrustedHow.KNOWN_HOSTS) if _agrees(record.pinned, keys) else None
    new = _foretold(record.expected, keys)
    return _expected(record, (*record.expected, *new)) if new else None


def hop_key_known(record: HopRecord, keys: Sequence[HostKey]) -> ScopeUpdate | None:
    """The same of a jump host."""
    if record.pinned is not None:
        vouch = vouched(record.pinned, TrustedHow.KNOWN_HOSTS) if _agrees(record.pinned, keys) else None
        detail = {"jump_host": record.name, **vouch.detail} if vouch else {}
        return ScopeUpdate("jump_host_key_vouched", detail, how=vouch.how) if vouch else None
    new = _foretold(record.expected, keys)
    if not new:
        return None
    detail = {"jump_host": record.name, "expected": [key.fingerprint for key in new], "how": TrustedHow.KNOWN_HOSTS}
    blocked = record.blocked_code in KEY_BLOCKS
    return ScopeUpdate("jump_host_key_expected", detail, expects=(*record.expected, *new), ends_trouble=blocked)


def comparable(pinned: SeenKey | None, keys: Sequence[HostKey]) -> bool:
    """Whether a file says anything of the pinned key: a router may have one of each type."""
    return pinned is None or pinned.key.key_type in {key.key_type for key in keys}


def key_reset(record: DeviceRecord) -> Update | None:
    """No key is pinned or expected any more; all else that is known of the router stays, as with `key_accepted`.

    Without a pin, that the router spoke modern algorithms is all that a stranger in its place has to match.
    """
    if not record.pinned and not record.offered and not record.expected:
        return None
    detail: dict[str, Any] = {"retired": record.pinned.key.fingerprint if record.pinned else None}
    detail |= {"no_longer_expected": [key.fingerprint for key in record.expected]} if record.expected else {}
    columns = {**_block_ended(record), **NO_WORD}
    retires, clears = keys_in_use(record), KEY_BLOCKS
    return Update("host_key_reset", detail, columns, retires=retires, clears=clears, expects=())


def vouched(pinned: SeenKey, how: TrustedHow) -> Update | None:
    """Somebody else than the first answer says that it is the right one; None if that was so before."""
    if pinned.trusted_how not in {None, TrustedHow.FIRST_USE}:
        return None
    detail = {"fingerprint": pinned.key.fingerprint, "how": how, "was": pinned.trusted_how}
    return Update("host_key_vouched", detail, how=how)


def _pinned(record: DeviceRecord, chosen: SeenKey, how: TrustedHow) -> Update:
    pinned = record.pinned
    detail: dict[str, Any] = {
        str(how): chosen.key.fingerprint,
        "key_type": chosen.key.key_type,
        "retired": pinned.key.fingerprint if pinned else None,
    }
    detail |= {"expected": [key.fingerprint for key in record.expected]} if record.expected else {}
    return Update(
        f"host_key_{how}",
        detail,
        {**_block_ended(record), **NO_WORD},
        retires=tuple(number for number in keys_in_use(record) if number != chosen.number),
        pins=chosen.number,
        how=how,
        clears=KEY_BLOCKS,
        expects=() if record.expected else None,
    )


def _expected(record: DeviceRecord, keys: tuple[ExpectedKey, ...]) -> Update:
    new = [key for key in keys if key not in record.expected]
    detail = {"expected": [key.fingerprint for key in new], "how": new[0].how}
    columns = _block_ended(record) if record.blocked_code in KEY_BLOCKS else {}
    return Update("host_key_expected", detail, columns, clears=KEY_BLOCKS, expects=keys)


def _block_ended(record: DeviceRecord) -> dict[str, Any]:
    return {**UNBLOCKED, **due_now(record)} if record.blocked_code in KEY_BLOCKS else due_now(record)


def _agrees(pinned: SeenKey, keys: Sequence[HostKey]) -> bool:
    if pinned.key not in keys and comparable(pinned, keys):
        raise Conflict(f"pinned is {pinned.key.key_type} {pinned.key.fingerprint}, listed {_listed(keys)}")
    return pinned.key in keys


def _foretold(expected: Sequence[ExpectedKey], keys: Sequence[HostKey]) -> tuple[ExpectedKey, ...]:
    """Those that are not expected yet."""
    there = {key.fingerprint for key in expected}
    if there and not there & {key.fingerprint for key in keys}:
        raise Conflict(f"expected is {', '.join(sorted(there))}, listed {_listed(keys)}")
    new = (key for key in keys if key.fingerprint not in there)
    return tuple(ExpectedKey(key.fingerprint, TrustedHow.KNOWN_HOSTS, key.key_type) for key in new)


def _listed(keys: Sequence[HostKey]) -> str:
    return ", ".join(f"{key.key_type} {key.fingerprint}" for key in keys)
