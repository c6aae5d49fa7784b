"""Devices of which nobody can open what they have now: its keys were given up, or it was found to be damaged."""

from __future__ import annotations

from backupflow.core.verification import DAMAGED

# SQL: of a device `d`. What was given up is opened again should its keys come back; nobody tries that for a figure. The
# alarm names the first seq of the content (core.verification.alarm_scope); few stand, and who counts reads no content.
UNREADABLE = f"""
    (coalesce(d.current_seq BETWEEN 1 AND d.unreadable_to_seq, false) OR EXISTS (
        SELECT FROM alarm a WHERE a.code = '{DAMAGED}' AND a.cleared_at IS NULL
          AND starts_with(a.scope, 'device ' || d.id || ' seq ') AND EXISTS (
            SELECT FROM collection k JOIN collection f ON f.device_id = d.id AND f.content_id = k.content_id
            WHERE k.id = d.current_collection_id AND a.scope = 'device ' || d.id || ' seq ' || f.seq)))"""
