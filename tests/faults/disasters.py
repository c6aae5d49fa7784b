"""What befalls the servers of a stack, by the hand of their own administrators: emptied, wiped, sealed."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
from typing import TYPE_CHECKING

import nats
import redis
from nats.js import api
from nats.js.errors import NotFoundError

from backupflow.adapters.bus.stream import STREAM, consumer_config
from backupflow.adapters.vault import AppRoleLogin, Vault
from backupflow.errors import BackupflowError
from tests.acceptance.install import wait_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nats.js.client import JetStreamContext

    from tests.faults.stack import Stack

SEALER = "backupflow-test-sealer"


def flush_redis(stack: Stack) -> None:
    """FLUSHALL: queues, and all else."""
    address = stack.servers.addresses.redis
    assert address
    password = stack.servers.secret_path("admin.redis").read_text().strip()
    with redis.Redis(address.host, address.port, username="admin", password=password, socket_timeout=10) as admin:
        admin.flushall()


def delete_stream(stack: Stack) -> None:
    """The stream is gone, with what was in it and its consumer."""

    async def delete(jetstream: JetStreamContext) -> None:
        try:
            await jetstream.delete_stream(STREAM)
        except NotFoundError:
            return

    on_bus(stack, delete)


def wipe_bus(stack: Stack) -> None:
    """kill -9, and an empty store at the next start, which is a second later at the earliest."""
    server = stack.server("nats")
    server.kill()
    server.wait(10)
    shutil.rmtree(stack.data / "nats" / "jetstream", ignore_errors=True)


def redeliver_after(stack: Stack, seconds: float) -> None:
    """What a dead ingester had fetched comes again so soon; 60 s as shipped. Waits until there is a stream."""

    async def change(jetstream: JetStreamContext) -> None:
        await jetstream.add_consumer(STREAM, api.ConsumerConfig(**vars(consumer_config()) | {"ack_wait": seconds}))

    def changed() -> bool:
        try:
            on_bus(stack, change)
        except (nats.errors.Error, ConnectionError):
            return False
        return True

    wait_for(changed, "a stream", 60)


def on_bus(stack: Stack, act: Callable[[JetStreamContext], Awaitable[None]]) -> None:
    """Do it as the administrator of the bus."""
    password = stack.servers.secret_path("admin.nats").read_text().strip()

    async def run() -> None:
        client = await nats.connect(
            stack.wiring.settings.servers.nats_url,
            user="admin",
            password=password,
            connect_timeout=5,
            allow_reconnect=False,
        )
        try:
            await act(client.jetstream())
        finally:
            await client.close()

    asyncio.run(run())


def seal(stack: Stack) -> None:
    """Seal the vault, as an operator of its own does; it opens by itself when it is started again."""
    try:
        _sealer(stack).call("POST", "sys/seal", {})
    except BackupflowError:
        assert _vault(stack, AppRoleLogin("", "")).status().sealed


def unseal(stack: Stack) -> None:
    """Start it again: the key of its seal is a file."""
    stack.servers.supervisor.restart("openbao")


def _sealer(stack: Stack) -> Vault:
    """A login that may seal, which no role of ours may."""
    told = json.loads(stack.servers.secret_path("installer.openbao").read_text())
    installer = _vault(stack, AppRoleLogin(told["role_id"], told["secret_id"]))
    policy = 'path "sys/seal" { capabilities = ["update", "sudo"] }'
    role_id, secret_id = secrets.token_hex(16), secrets.token_hex(16)
    installer.call("PUT", f"sys/policies/acl/{SEALER}", {"policy": policy})
    installer.call("POST", f"auth/approle/role/{SEALER}", {"token_policies": [SEALER]})
    installer.call("POST", f"auth/approle/role/{SEALER}/role-id", {"role_id": role_id})
    installer.call("POST", f"auth/approle/role/{SEALER}/custom-secret-id", {"secret_id": secret_id})
    installer.close()
    return _vault(stack, AppRoleLogin(role_id, secret_id))


def _vault(stack: Stack, login: AppRoleLogin) -> Vault:
    return Vault(stack.servers.addresses.openbao_url, login)
