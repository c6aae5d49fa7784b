"""OpenBao Transit: seal and open. One `Vault` a process, made after fork.

A tenant has three keys, `<purpose>-<tenant>`, all made with `derived=true`: the context binds a ciphertext to its place
(profile or device, device, tenant), since rewrap takes no associated data. Measured on OpenBao 2.7.2:

1. A role that may only `update` gets 403, not 400, for encrypting under a missing key: the canary tells them apart.
2. 503, 403 and time-outs never mean that a key is absent.
3. Of a batch to be opened each bad item has its own `error`, if it is asked to answer 200 to that and one is good; if
   all are bad it answers 400, and what with is all that is known of them.
"""

from __future__ import annotations

from base64 import b64decode
from typing import TYPE_CHECKING

from backupflow.adapters.vault.client import Answer, expect
from backupflow.adapters.vault.keyring import CANARY, Keyring, b64
from backupflow.adapters.vault.trouble import Trouble, failure, trouble_in
from backupflow.core.model import Pepper, Purpose, Sealed, SealedConfig, SealedSecret
from backupflow.errors import BackupflowError, VaultUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from uuid import UUID

    from backupflow.core.model import DeviceId, TenantId

OPENED_AT_ONCE = 100  # texts; each has 4 strings of JSON, of which OpenBao takes 1000 (keyring, 3)
OPENED_BYTES_AT_ONCE = 4 * 1024 * 1024  # far below what OpenBao takes; a larger text goes alone
_OF_ONE = frozenset({Trouble.VERSION, Trouble.RETIRED, Trouble.ALTERED, Trouble.TOO_LARGE})


class Vault(Keyring):
    """Sealer, ConfigOpener, SecretOpener, SecretSealer, and all that a keyring is: the policy decides which."""

    def seal_config(self, tenant_id: TenantId, device_id: DeviceId, envelope: bytes) -> SealedConfig:
        """Seal an envelope for its device."""
        return SealedConfig(self._encrypt(tenant_id, Purpose.DATA, device_id, envelope))

    def open_config(self, tenant_id: TenantId, device_id: DeviceId, sealed: SealedConfig) -> bytes:
        """Give back the envelope; MessageMalformed if it was sealed for another device or was altered."""
        return self._decrypt(tenant_id, Purpose.DATA, device_id, sealed)

    def open_configs(
        self, tenant_id: TenantId, configs: Sequence[tuple[DeviceId, SealedConfig]]
    ) -> list[bytes | BackupflowError]:
        """The same of many, in requests of bounded size: for each its envelope, or why it does not open.

        MessageMalformed and TransitKeyMissing are of one text; what is wrong with all of them is raised.
        """
        return [opened for batch in _batches(configs) for opened in self._open_batch(tenant_id, batch)]

    def seal_login(self, tenant_id: TenantId, context: UUID, secret: bytes) -> SealedSecret:
        """Seal the secret part of a login for its profile or device."""
        return SealedSecret(self._encrypt(tenant_id, Purpose.CREDENTIALS, context, secret))

    def seal_logins(self, tenant_id: TenantId, secrets: Sequence[tuple[UUID, bytes]]) -> list[SealedSecret]:
        """The same of many in one request, all or none; at most 100 (keyring, 3)."""
        items = [{"plaintext": b64(secret), "context": b64(context.bytes)} for context, secret in secrets]
        answer = self._sealed(tenant_id, Purpose.CREDENTIALS, {"batch_input": items})
        results = answer["batch_results"]
        if len(results) != len(items):
            raise VaultUnavailable("it answered to another number of texts than it was given")
        if wrong := [str(result["error"]) for result in results if result.get("error")]:
            raise failure(trouble_in(wrong[0]))
        return [SealedSecret(str(result["ciphertext"])) for result in results]

    def open_login(self, tenant_id: TenantId, context: UUID, sealed: SealedSecret) -> bytes:
        """Give back the secret part of a login; MessageMalformed if it was sealed for another profile or device."""
        return self._decrypt(tenant_id, Purpose.CREDENTIALS, context, sealed)

    def open_pepper(self, tenant_id: TenantId, sealed: SealedSecret) -> Pepper:
        """Give back the tenant's pepper."""
        return Pepper(self._decrypt(tenant_id, Purpose.PEPPER, tenant_id, sealed))

    def _open_batch(
        self, tenant_id: TenantId, batch: Sequence[tuple[DeviceId, SealedConfig]]
    ) -> list[bytes | BackupflowError]:
        items = [{"ciphertext": sealed.text, "context": b64(device_id.bytes)} for device_id, sealed in batch]
        body: Answer = {"batch_input": items, "partial_failure_response_code": 200}
        answer = self._ask_transit("decrypt", tenant_id, Purpose.DATA, body)
        if isinstance(answer, Trouble) and answer in _OF_ONE:  # 3
            if len(batch) == 1:
                return [failure(answer)]
            return [opened for one in batch for opened in self._open_batch(tenant_id, [one])]
        results = expect(answer)["data"]["batch_results"]
        if len(results) != len(items):
            raise VaultUnavailable("it answered to another number of texts than it was given")
        return [_opened(result) for result in results]

    def _encrypt(self, tenant_id: TenantId, purpose: Purpose, context: UUID, plaintext: bytes) -> str:
        body = {"plaintext": b64(plaintext), "context": b64(context.bytes)}
        return str(self._sealed(tenant_id, purpose, body)["ciphertext"])

    def _sealed(self, tenant_id: TenantId, purpose: Purpose, body: Answer) -> Answer:
        answer = self.ask("POST", f"transit/encrypt/{purpose}-{tenant_id}", body)
        if answer is Trouble.REFUSED:  # 1
            answer = self._why_refused(tenant_id, purpose)
        data: Answer = expect(answer)["data"]
        return data

    def _why_refused(self, tenant_id: TenantId, purpose: Purpose) -> Trouble:
        marked = self.ask("POST", f"transit/hmac/{purpose}-{tenant_id}", {"input": b64(CANARY), "key_version": "1"})
        return Trouble.KEY if marked is Trouble.KEY else Trouble.REFUSED

    def _decrypt(self, tenant_id: TenantId, purpose: Purpose, context: UUID, sealed: Sealed) -> bytes:
        body = {"ciphertext": sealed.text, "context": b64(context.bytes)}
        return b64decode(self._transit("decrypt", tenant_id, purpose, body)["plaintext"])


def _batches(configs: Sequence[tuple[DeviceId, SealedConfig]]) -> Iterator[list[tuple[DeviceId, SealedConfig]]]:
    batch: list[tuple[DeviceId, SealedConfig]] = []
    size = 0
    for device_id, sealed in configs:
        more = len(sealed.text)
        if batch and (len(batch) == OPENED_AT_ONCE or size + more > OPENED_BYTES_AT_ONCE):
            yield batch
            batch, size = [], 0
        batch.append((device_id, sealed))
        size += more
    if batch:
        yield batch


def _opened(result: Answer) -> bytes | BackupflowError:
    """3: an item's own error."""
    if result.get("error"):
        return failure(trouble_in(str(result["error"])))
    return b64decode(result["plaintext"])
