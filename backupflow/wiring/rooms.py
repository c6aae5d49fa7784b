"""Who reads which logins, where each process is given its own: a composed install, units of systemd.

A *room* is a folder of files for one reader, named as in CONFIG_SECRETS_DIR. `console` is for the commands of a person.
The room `install` has everything: the logins of admins and of the installer too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backupflow.core.system_backup import EVENTS
from backupflow.wiring.provision import FLOWER_LOGIN, NATS_ROLES, REDIS_ROLES

if TYPE_CHECKING:
    from collections.abc import Mapping

INSTALL = "install"
INSTALLER = "installer.openbao"  # who holds it can give himself every right in the vault
_ADMIN = "admin.postgres"
# Whose logins lie in a room. The process of role `operator` looks after what is kept: it verifies, and writes the
# escrow, with the reader's rights. It goes out, to tell events: who may delete keys is in the room of a person alone.
READERS: Mapping[str, tuple[str, ...]] = {
    "scheduler": ("scheduler",),
    "collector": ("collector",),
    "ingester": ("ingester",),
    "interpreter": ("interpreter",),
    "operator": ("operator", "reader"),
    "flower": ("flower",),
    "console": ("reader", "enroller", "operator", "provisioner"),
}
_TELL = frozenset({"operator", "console"})  # who tells events, and who tries whether that works


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
    """The logins in the room of a reader: all that its roles have, once the install is set up."""
    own = tuple(name for name in _known() if name.partition(".")[0] in READERS[room])
    return (*own, FLOWER_LOGIN) if room == "console" else own  # a person is to find the password of Flower


def files(room: str) -> tuple[str, ...]:
    """All files in the room of a reader: its logins, and what events are signed with where they are told."""
    return (*logins(room), EVENTS) if room in _TELL else logins(room)


def taken_away(room: str) -> tuple[str, ...]:
    """What a reader may not have; an earlier version may have given it."""
    return tuple(sorted({*_known(), EVENTS} - {*files(room)}))


def _known() -> tuple[str, ...]:
    from backupflow.adapters.vault_roles import ROLES

    return (*passwords(), *(f"{role}.openbao" for role in ROLES))
