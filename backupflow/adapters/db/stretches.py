"""The number under which a person finds an observation: that of the first one in a row with its configuration."""

from __future__ import annotations


def number_of(seq: str) -> str:
    """SQL: that number for a stored observation `seq` of a device `d`, as `snapshots` and `history` list it.

    Where another router came the count begins anew; of those before the last one that is not looked up, and an equal
    configuration of two of them has one number.
    """
    return f"""(
        SELECT min(x.seq) FROM collection x
        WHERE x.device_id = d.id AND x.state = 'stored' AND x.seq <= {seq} AND x.seq >= greatest(
            (SELECT max(y.seq) FROM collection y
             WHERE y.device_id = d.id AND y.state = 'stored' AND y.is_change AND y.seq <= {seq}),
            CASE WHEN {seq} > d.router_since_seq THEN d.router_since_seq + 1 END, 0))"""
