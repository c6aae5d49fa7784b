"""Which logins devices took as they are now: who refuses such a one has another on the router."""

from __future__ import annotations

# By the newest observation of each device: one pass over the devices, whatever their history.
TAKEN = """
    SELECT t.login_id FROM device x JOIN collection t ON t.id = x.current_collection_id
    JOIN credential_profile p ON p.id = t.login_id
    WHERE t.login_sent_at >= p.changed_at AND x.blocked_code IS NULL AND x.status <> 'removed'"""
