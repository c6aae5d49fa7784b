"""OpenBao Transit through hvac: seal, open, rewrap, key check."""

from __future__ import annotations

from backupflow.adapters.vault.client import AppRoleLogin, TokenLogin, VaultStatus
from backupflow.adapters.vault.keyring import CANARY
from backupflow.adapters.vault.transit import Vault

__all__ = ["CANARY", "AppRoleLogin", "TokenLogin", "Vault", "VaultStatus"]
