"""The keys themselves: making, marking, rotating, rewrapping and retiring their versions, never opening anything.

Measured on OpenBao 2.7.2:

1. The context of a key that is not derived is ignored in silence, so `derived` is checked when a key is made.
2. Making a key that exists answers 200 with the old key, so it is read first.
3. A batch answers 200 with an `error` for each bad item, also if all are bad; it is refused above 1000 strings of JSON.
4. `hmac` under a version above the newest says "key version does not exist", below min_decryption_version "no such key
   version".
"""

from __future__ import annotations

import secrets
from base64 import b64encode
from typing import TYPE_CHECKING

from backupflow.adapters.vault.client import Answer, VaultClient, expect
from backupflow.adapters.vault.trouble import Trouble, failure, trouble_in
from backupflow.core.keys import KeyVersions
from backupflow.core.model import Purpose, Sealed, SealedSecret
from backupflow.errors import BackupflowError, Conflict, TransitKeyMissing, VaultUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from backupflow.core.model import TenantId

CANARY = b"backupflow key canary"  # the policies of vault_roles allow the HMAC of nothing else
PEPPER_BYTES = 32
_KIND: Answer = {"type": "aes256-gcm96", "derived": True, "exportable": False, "allow_plaintext_backup": False}


class Keyring(VaultClient):
    """Canary, KeyMaker, Rewrapper, KeyKeeper: the policy decides which."""

    def mark(self, tenant_id: TenantId, purpose: Purpose, version: int = 1) -> str:
        """The HMAC of a fixed text under that version of the key; TransitKeyMissing if it is gone or retired."""
        body = {"input": b64(CANARY), "key_version": str(version)}
        return str(self._transit("hmac", tenant_id, purpose, body)["hmac"])

    def make_keys(self, tenant_id: TenantId) -> SealedSecret:
        """Make the three keys and give back a new sealed pepper; Conflict if the tenant has a key already."""
        for purpose in Purpose:
            if self.key(tenant_id, purpose) is not None:
                raise Conflict("this tenant has keys already")
        for purpose in Purpose:
            self.make_key(tenant_id, purpose)
        return self.new_pepper(tenant_id)

    def key(self, tenant_id: TenantId, purpose: Purpose) -> KeyVersions | None:
        """The versions of a key, None if there is none of that name; VaultUnavailable if that cannot be told."""
        path = _key_path(tenant_id, purpose)
        answer = self.ask("GET", path)
        if answer is Trouble.ABSENT:
            return None
        data = expect(answer)["data"]
        return KeyVersions(int(data["latest_version"]), int(data["min_decryption_version"]), _is_as_made(data))

    def make_key(self, tenant_id: TenantId, purpose: Purpose) -> None:
        """Make one key; one that is there stays what it is."""
        made = self.call("POST", _key_path(tenant_id, purpose), _KIND)["data"]
        if not _is_as_made(made) or made.get("deletion_allowed"):
            raise VaultUnavailable("it made a key of another kind than it was asked for")

    def new_pepper(self, tenant_id: TenantId) -> SealedSecret:
        """A new pepper, sealed for its tenant."""
        pepper = secrets.token_bytes(PEPPER_BYTES)
        body = {"plaintext": b64(pepper), "context": b64(tenant_id.bytes)}
        return SealedSecret(self._transit("encrypt", tenant_id, Purpose.PEPPER, body)["ciphertext"])

    def rewrap(self, tenant_id: TenantId, purpose: Purpose, context: UUID, sealed: Sealed) -> Sealed:
        """The same plaintext under the newest version, as the same class; the plaintext does not leave the vault."""
        body = {"ciphertext": sealed.text, "context": b64(context.bytes)}
        return type(sealed)(self._transit("rewrap", tenant_id, purpose, body)["ciphertext"])

    def rewrap_all(
        self, tenant_id: TenantId, purpose: Purpose, batch: Sequence[tuple[UUID, Sealed]]
    ) -> list[Sealed | BackupflowError]:
        """Many at a time (3: at most some 200): for each its new text, or why there is none; raises if all is lost."""
        items = [{"ciphertext": sealed.text, "context": b64(context.bytes)} for context, sealed in batch]
        results = self._transit("rewrap", tenant_id, purpose, {"batch_input": items})["batch_results"]
        if len(results) != len(batch):
            raise VaultUnavailable("it answered to another number of texts than it was given")
        return [_rewrapped(sealed, result) for (_, sealed), result in zip(batch, results, strict=True)]

    def rotate(self, tenant_id: TenantId, purpose: Purpose) -> int:
        """Add a version to a key and give back its number; what older versions sealed stays readable."""
        path = f"{_key_path(tenant_id, purpose)}/rotate"
        return int(self.call("POST", path, {})["data"]["latest_version"])

    def retire(self, tenant_id: TenantId, purpose: Purpose, version: int) -> None:
        """Open nothing any more that is sealed under versions older than this one; none is deleted, 1 opens all."""
        self.call("POST", f"{_key_path(tenant_id, purpose)}/config", {"min_decryption_version": version})

    def delete_keys(self, tenant_id: TenantId) -> None:
        """Shred a tenant: nothing that was sealed for it can ever be opened again. Keys that are gone are no error."""
        for purpose in Purpose:
            path = _key_path(tenant_id, purpose)
            if self.ask("POST", f"{path}/config", {"deletion_allowed": True}) is not Trouble.KEY:
                self.call("DELETE", path)

    def _transit(self, operation: str, tenant_id: TenantId, purpose: Purpose, body: Answer) -> Answer:
        data: Answer = expect(self._ask_transit(operation, tenant_id, purpose, body))["data"]
        return data

    def _ask_transit(self, operation: str, tenant_id: TenantId, purpose: Purpose, body: Answer) -> Answer | Trouble:
        answer = self.ask("POST", f"transit/{operation}/{purpose}-{tenant_id}", body)
        if answer is Trouble.ABSENT:
            raise TransitKeyMissing("the vault has no transit mount")
        return answer


def b64(data: bytes) -> str:
    """As Transit wants every value."""
    return b64encode(data).decode("ascii")


def _key_path(tenant_id: TenantId, purpose: Purpose) -> str:
    return f"transit/keys/{purpose}-{tenant_id}"


def _is_as_made(data: Answer) -> bool:
    return all(data.get(name) == value for name, value in _KIND.items())


def _rewrapped(sealed: Sealed, result: Answer) -> Sealed | BackupflowError:
    """3: an item's own error; what is neither an error nor a sealed text is none either."""
    if result.get("error"):
        return failure(trouble_in(str(result["error"])))
    try:
        return type(sealed)(str(result.get("ciphertext")))
    except BackupflowError as exc:
        return exc
