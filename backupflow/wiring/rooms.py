"""Who reads which logins, where each process is given its own: a composed install, units of systemd.

A *room* is a folder of files for one reader, named as in CONFIG_SECRETS_DIR. `console` is for the commands of a person.
The room `install` has everything: the logins of admins and of the installer too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backupflow.wiring.provision import FLOWER_LOGIN, NATS_ROLES, REDIS_ROLES

if TYPE_CHECKING:
    from collections.abc import Mapping

INSTALL = "install"
INSTALLER = "installer.openbao"  # who holds it can give himself every right in the vault
_ADMIN = "admin.postgres"
# Whose logins lie in a room. The process of role `operator` looks after what is kept: it verifies with the reader's
# rights and makes keys with the provisioner's.
READERS: Mapping[str, tuple[str, ...]] = {
    "scheduler": ("scheduler",),
    "collector": ("collector",),
    "ingester": ("ingester",),
    "interpreter": ("interpreter",),
    "operator": ("operator", "reader", "provisioner"),
    "flower": ("flower",),
    "console": ("reader", "enroller", "operator", "provisioner"),
}


def passwords() -> tuple[str, ...]:
    """The secrets that are made before the servers start; OpenBao makes its roles' logins itself."""
    from backupflow.adapters.db.roles import ROLES

    return (
        _ADMIN,
        *(f"{role}.postgres" for role in ROLES),
        *(f"{role}.redis" for role in REDIS_ROLES),
        *(f"{role}.nats" for role in NATS_ROLES),
        FLOWER_LOGIN,
    )


def logins(room: str) -> tuple[str, ...]:
    """The files in the room of a reader: all that its roles have, once the install is set up."""
    from backupflow.adapters.vault_roles import ROLES

    there = (*passwords(), *(f"{role}.openbao" for role in ROLES))
    own = tuple(name for name in there if name.partition(".")[0] in READERS[room])
    return (*own, FLOWER_LOGIN) if room == "console" else own  # a person is to find the password of Flower
