"""What to do next about a code, for one device, in one line that can be typed."""

from __future__ import annotations

import shlex

# Where a device stands in the way of itself; what a failure says of its kind is in backupflow.errors.
_STEPS = {
    "export_suspect": "`snapshots {name} --aside` and `export {name} --aside` show what it gave; "
    "`backup {name} --wait` asks once more, `device believe {name}` believes the next one however it looks",
    "identity_changed": "if it was exchanged: `device replaced {name}`; if the address is wrong: "
    "`device edit {name} --host ADDRESS`, then `device unblock {name}`",
    "secrets_hidden": "then `backup {name} --wait`; to leave them on the router: `device edit {name} --secrets omit`",
    "host_key_mismatch": "`hostkey show {name}`; compare with the router's own key before `hostkey accept {name}`",
    "host_key_unapproved": "`hostkey show {name}`; compare it with the router's own, then `hostkey approve {name}`",
    "authentication_failed": "`device edit {name} --ask-password`, or mend it there and `device unblock {name}`",
    "keys_lost": "its login was sealed with keys that were lost: `device edit {name} --ask-password`",
    "algorithms_incompatible": "`/ip ssh set strong-crypto=yes` there, then `device unblock {name}`",
    "ssh_downgraded": "`/ip ssh set strong-crypto=yes` there, then `device unblock {name}`; if that cannot be: "
    "`device edit {name} --legacy-ssh`; if it is another router: `device replaced {name}`",
}


def next_step(code: str | None, name: str) -> str | None:
    """The commands for this device; None for a code that has none of its own."""
    step = _STEPS.get(code or "")
    return step and step.format(name=shlex.quote(name))
