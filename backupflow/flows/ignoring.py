"""Which rules might be wanted: what came nearly every time is opened once, to say what it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backupflow.core import change_codec
from backupflow.core.enclosure import Label, What, enclosed
from backupflow.core.ignoring import suggested, with_ignored
from backupflow.core.model import SealedConfig
from backupflow.errors import BackupflowError, MessageMalformed, TransitKeyMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from backupflow.core.driver import Driver
    from backupflow.core.ignoring import Noisy, Place, Rule
    from backupflow.core.model import Pepper, TenantId
    from backupflow.core.ports import ConfigOpener, NoiseStore, SecretOpener

_LONGEST_TOLD = 128 * 1024 * 1024  # bytes of the changes of one observation, inflated
_TOGETHER = 50  # that are opened at a time


@dataclass(frozen=True, slots=True)
class SuggestPorts:
    """What suggesting needs of the world."""

    store: NoiseStore
    configs: ConfigOpener
    secrets: SecretOpener
    driver: Callable[[str], Driver]


@dataclass(slots=True)
class Suggested:
    """Rules, each with the names of the devices that it would be for; and devices whose changes do not open."""

    rules: dict[Rule, list[str]]
    closed: list[str]


def suggest(ports: SuggestPorts, tenant_id: TenantId, place: Place) -> Suggested:
    """Rules that would hide what came nearly every time, and that no rule hides yet.

    TransitKeyMissing if the tenant has not its keys.
    """
    noisy = ports.store.noisy(tenant_id, place)
    done = Suggested({}, [])
    if not noisy:
        return done
    pepper = _pepper(ports, noisy[0])
    for first in range(0, len(noisy), _TOGETHER):
        for one, envelope in _opened(ports, tenant_id, noisy[first : first + _TOGETHER]):
            _add(done, one, _rules(ports, one, envelope, pepper))
    return done


def _pepper(ports: SuggestPorts, noisy: Noisy) -> Pepper:
    try:
        return ports.secrets.open_pepper(noisy.tenant_id, noisy.sealed_pepper)
    except MessageMalformed as exc:
        raise TransitKeyMissing(f"the tenant's pepper does not open: {exc.detail}") from exc


def _opened(
    ports: SuggestPorts, tenant_id: TenantId, noisy: Sequence[Noisy]
) -> list[tuple[Noisy, bytes | BackupflowError]]:
    sealed = []
    for one in noisy:
        try:
            sealed.append((one, SealedConfig(one.changes_sealed)))
        except MessageMalformed:
            continue  # `verify` finds it
    envelopes = ports.configs.open_configs(tenant_id, [(one.device_id, text) for one, text in sealed])
    return [(one, envelope) for (one, _), envelope in zip(sealed, envelopes, strict=True)]


def _rules(ports: SuggestPorts, one: Noisy, envelope: bytes | BackupflowError, pepper: Pepper) -> list[Rule] | None:
    if isinstance(envelope, BackupflowError):
        return None
    label = Label(one.tenant_id, one.device_id, one.seq, one.after_seq, What.CHANGES)
    try:
        changes = change_codec.decode(enclosed(envelope, label, _LONGEST_TOLD))
    except MessageMalformed:
        return None
    grammar = ports.driver(one.driver).grammar
    told = [change for change in with_ignored(changes, one.rules, grammar) if not change.ignored]
    return suggested(told, one.keys, grammar, pepper)


def _add(done: Suggested, one: Noisy, rules: Sequence[Rule] | None) -> None:
    if rules is None:
        done.closed += [one.device_name] if one.device_name not in done.closed else []
        return
    for rule in rules:
        devices = done.rules.setdefault(rule, [])
        if one.device_name not in devices:
            devices.append(one.device_name)
