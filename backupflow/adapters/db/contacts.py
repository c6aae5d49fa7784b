"""How often a device was connected to lately, as its own firewall counts it: see core.firewall."""

from __future__ import annotations

# A clock that stood ahead and was set right leaves times that lie too far in the future: they mean nothing.
_LONGEST = "interval '2 hours'"
# SQL: whether nothing that comes by itself may connect to it now.
HELD = f"(d.hold_until IS NOT NULL AND d.hold_until > now() AND d.hold_until <= now() + {_LONGEST})"
# SQL: why nobody may but by force, or NULL.
WARY = f"""
    CASE WHEN d.wary_until > now() AND d.wary_until <= now() + {_LONGEST}
         THEN 'too many connections lately: a fourth one could get our address banned; again at '
             || to_char(d.wary_until AT TIME ZONE 'UTC' + interval '1 minute', 'HH24:MI') || ' UTC, or --force' END"""
