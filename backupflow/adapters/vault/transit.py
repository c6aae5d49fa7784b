"""OpenBao Transit: seal, open, rewrap, key check. One `Vault` a process, made after fork.

A tenant has three keys, `<purpose>-<tenant>`, all made with `derived=true`: the context binds a ciphertext to its place
(profile or device, device, tenant), since rewrap takes no associated data. Measured on OpenBao 2.7.2:

1. The context of a key that is not derived is ignored in silence, so `derived` is checked when a key is made.
2. Making a key that exists answers 200 with the old key, so it is read first.
3. A role that may only `update` gets 403, not 400, for encrypting under a missing key: the canary tells them apart.
4. 503, 403 and time-outs never mean that a key is absent.
"""

from __future__ import annotations

import secrets
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING

from backupflow.adapters.vault.client import Answer, VaultClient, expect
from backupflow.adapters.vault.trouble import Trouble
from backupflow.core.model import Pepper, Purpose, Sealed, SealedConfig, SealedSecret
from backupflow.errors import Conflict, TransitKeyMissing, VaultUnavailable

if TYPE_CHECKING:
    from uuid import UUID

    from backupflow.core.model import DeviceId, TenantId

CANARY = b"backupflow key canary"  # the policies of vault_roles allow the HMAC of nothing else
PEPPER_BYTES = 32


class Vault(VaultClient):
    """Sealer, ConfigOpener, SecretOpener, SecretSealer, Canary, KeyMaker, Rewrapper: the policy decides which."""

    def seal_config(self, tenant_id: TenantId, device_id: DeviceId, envelope: bytes) -> SealedConfig:
        """Seal an envelope for its device."""
        return SealedConfig(self._encrypt(tenant_id, Purpose.DATA, device_id, envelope))

    def open_config(self, tenant_id: TenantId, device_id: DeviceId, sealed: SealedConfig) -> bytes:
        """Give back the envelope; MessageMalformed if it was sealed for another device or was altered."""
        return self._decrypt(tenant_id, Purpose.DATA, device_id, sealed)

    def seal_login(self, tenant_id: TenantId, context: UUID, secret: bytes) -> SealedSecret:
        """Seal the secret part of a login for its profile or device."""
        return SealedSecret(self._encrypt(tenant_id, Purpose.CREDENTIALS, context, secret))

    def open_login(self, tenant_id: TenantId, context: UUID, sealed: SealedSecret) -> bytes:
        """Give back the secret part of a login; MessageMalformed if it was sealed for another profile or device."""
        return self._decrypt(tenant_id, Purpose.CREDENTIALS, context, sealed)

    def open_pepper(self, tenant_id: TenantId, sealed: SealedSecret) -> Pepper:
        """Give back the tenant's pepper."""
        return Pepper(self._decrypt(tenant_id, Purpose.PEPPER, tenant_id, sealed))

    def mark(self, tenant_id: TenantId, purpose: Purpose, version: int = 1) -> str:
        """The HMAC of a fixed text under that version of the key.

        TransitKeyMissing if there is none; VaultUnavailable if it was retired (min_decryption_version).
        """
        body = {"input": _b64(CANARY), "key_version": str(version)}
        return str(self._transit("hmac", tenant_id, purpose, body)["hmac"])

    def make_keys(self, tenant_id: TenantId) -> SealedSecret:
        """Make the three keys and give back a new sealed pepper; Conflict if the tenant has a key already."""
        for purpose in Purpose:
            if self.ask("GET", _key_path(tenant_id, purpose)) is not Trouble.ABSENT:
                self.call("GET", _key_path(tenant_id, purpose))  # raises, unless the key is there
                raise Conflict("this tenant has keys already")
        wanted = {"type": "aes256-gcm96", "derived": True, "exportable": False, "allow_plaintext_backup": False}
        for purpose in Purpose:
            made = self.call("POST", _key_path(tenant_id, purpose), wanted)["data"]
            if any(made.get(name) != value for name, value in wanted.items()) or made.get("deletion_allowed"):
                raise VaultUnavailable("it made a key of another kind than it was asked for")
        return SealedSecret(self._encrypt(tenant_id, Purpose.PEPPER, tenant_id, secrets.token_bytes(PEPPER_BYTES)))

    def rewrap(self, tenant_id: TenantId, purpose: Purpose, context: UUID, sealed: Sealed) -> Sealed:
        """The same plaintext under the newest version, as the same class; the plaintext does not leave the vault."""
        body = {"ciphertext": sealed.text, "context": _b64(context.bytes)}
        return type(sealed)(self._transit("rewrap", tenant_id, purpose, body)["ciphertext"])

    def rotate(self, tenant_id: TenantId, purpose: Purpose) -> int:
        """Add a version to a key and give back its number; what older versions sealed stays readable."""
        path = f"{_key_path(tenant_id, purpose)}/rotate"
        return int(self.call("POST", path, {})["data"]["latest_version"])

    def delete_keys(self, tenant_id: TenantId) -> None:
        """Shred a tenant: nothing that was sealed for it can ever be opened again. Keys that are gone are no error."""
        for purpose in Purpose:
            path = _key_path(tenant_id, purpose)
            if self.ask("POST", f"{path}/config", {"deletion_allowed": True}) is not Trouble.KEY:
                self.call("DELETE", path)

    def _encrypt(self, tenant_id: TenantId, purpose: Purpose, context: UUID, plaintext: bytes) -> str:
        body = {"plaintext": _b64(plaintext), "context": _b64(context.bytes)}
        path = f"transit/encrypt/{purpose}-{tenant_id}"
        answer = self.ask("POST", path, body)
        if answer is Trouble.REFUSED:
            self.mark(tenant_id, purpose)  # raises TransitKeyMissing if that is why
        return str(expect(answer)["data"]["ciphertext"])

    def _decrypt(self, tenant_id: TenantId, purpose: Purpose, context: UUID, sealed: Sealed) -> bytes:
        body = {"ciphertext": sealed.text, "context": _b64(context.bytes)}
        return b64decode(self._transit("decrypt", tenant_id, purpose, body)["plaintext"])

    def _transit(self, operation: str, tenant_id: TenantId, purpose: Purpose, body: Answer) -> Answer:
        answer = self.ask("POST", f"transit/{operation}/{purpose}-{tenant_id}", body)
        if answer is Trouble.ABSENT:
            raise TransitKeyMissing("the vault has no transit mount")
        data: Answer = expect(answer)["data"]
        return data


def _key_path(tenant_id: TenantId, purpose: Purpose) -> str:
    return f"transit/keys/{purpose}-{tenant_id}"


def _b64(data: bytes) -> str:
    return b64encode(data).decode("ascii")
