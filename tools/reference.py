"""Pages of reference that are read off the code: tables of the database, and messages."""

from __future__ import annotations

import ast
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import Column, DefaultClause, Table

import celeryconfig
from backupflow.adapters.db.tables import metadata
from backupflow.core import message

if TYPE_CHECKING:
    from collections.abc import Iterator

TASKS = Path(__file__).resolve().parent.parent / "backupflow" / "tasks"
_DIALECT: Any = postgresql.dialect()  # type: ignore[no-untyped-call]
# What a field of a message is on the wire.
_ON_THE_WIRE = {
    "tenant_id": "UUID",
    "device_id": "UUID",
    "collection_id": "number",
    "seq": "number",
    "normalization_version": "number",
    "content_hash": "64 hexadecimal digits",
    "sealed": "`vault:v…`, as OpenBao Transit gives it",
}


def tables_page() -> str:
    """Each table with its columns; what each role may do with it is held by tests/contract."""
    page = [
        "# Tables",
        "",
        "The schema of PostgreSQL, for those who look into it with `psql`, or make reports from it. It changes with",
        "each version, by the migrations in `alembic/versions`; nothing but backupflow should write to it. What each",
        "role may do is held by `tests/contract`. What is sealed begins with `vault:v` and opens in OpenBao only.",
        "",
    ]
    for table in sorted(metadata.tables.values(), key=lambda one: one.name):
        page += [f"## {table.name}", "", *([table.comment, ""] if table.comment else []), *_columns(table), ""]
    return "\n".join(page)


def _columns(table: Table) -> Iterator[str]:
    yield "| column | type | |"
    yield "|---|---|---|"
    for column in table.columns:
        notes = [*_notes(column), *([column.comment] if column.comment else [])]
        yield f"| `{column.name}` | {column.type.compile(dialect=_DIALECT).lower()} | {'; '.join(notes)} |"


def _notes(column: Column[Any]) -> Iterator[str]:
    if column.primary_key:
        yield "key"
    elif not column.nullable:
        yield "always"
    refers = sorted({key.target_fullname for key in column.foreign_keys} - {"tenant.id"})
    if refers and column.name != "tenant_id":
        yield "→ " + ", ".join(f"`{name}`" for name in refers)
    default = column.server_default
    said = str(getattr(default.arg, "text", default.arg)) if isinstance(default, DefaultClause) else ""
    if said:
        yield f"default `{said}`"


def messages_page() -> str:
    """What goes over the bus and over the broker."""
    page = [
        "# Messages",
        "",
        "## On the bus (NATS JetStream)",
        "",
        f"Stream `CONFIG_SNAPSHOTS`, subject `{message.SUBJECT_PREFIX}.<device_id>`, header",
        "`Nats-Msg-Id: <device_id>:<seq>`; JSON in exactly the form that `core/message.py` writes, at most",
        f"{message.MAX_BYTES:,} bytes. A message is believed for nothing: each field is held against the row of its",
        "collection, and what differs is [quarantined](runbook/quarantine.md).",
        "",
        "| field | what it is |",
        "|---|---|",
        f"| `schema_version` | {message.SCHEMA_VERSION} |",
    ]
    page += [f"| `{field.name}` | {_ON_THE_WIRE[field.name]} |" for field in fields(message.SnapshotMessage)]
    page += [
        "",
        "## Tasks (Celery, over Redis)",
        "",
        "Arguments are numbers and names, never content. Each queue has an exchange of its own. A task is acknowledged",
        "when it is taken, never retried by Celery and has no result: what was not done is sent again from its row.",
        "",
        "| task | queue | arguments | what it does |",
        "|---|---|---|---|",
        *_tasks(),
        "",
        "## Events to others",
        "",
        "What `CONFIG_ON_EVENT` is told: [events](events.md).",
        "",
    ]
    return "\n".join(page)


def _tasks() -> Iterator[str]:
    """Read, not imported: a task that is looked at wants the broker's address."""
    for function, name in sorted(_decorated(), key=lambda found: found[1]):
        arguments = ", ".join(f"`{one.arg}`" for one in function.args.args) or "none"
        queue = celeryconfig.task_routes.get(name, {}).get("queue")
        said = (ast.get_docstring(function) or "").splitlines()[0]
        yield f"| `{name}` | {f'`{queue}`' if queue else 'that which it is about'} | {arguments} | {said} |"


def _decorated() -> Iterator[tuple[ast.FunctionDef, str]]:
    for path in sorted(TASKS.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        constants = {
            target.id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for function in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
            for given in function.decorator_list:
                if isinstance(given, ast.Call) and ast.unparse(given.func) == "app.task":
                    name = next(keyword.value for keyword in given.keywords if keyword.arg == "name")
                    yield function, str(name.value if isinstance(name, ast.Constant) else constants[ast.unparse(name)])
