"""What the flows hold to be the largest message, and what the bus does."""

from __future__ import annotations

from backupflow.adapters.bus import MAX_MESSAGE_BYTES, jetstream
from backupflow.core.message import MAX_BYTES


def test_what_may_pass_the_fence_is_what_the_stream_takes() -> None:
    """A greater one would be refused behind the fence, where a row says that its configuration is on its way."""
    assert MAX_BYTES + jetstream._HEADER_BYTES == MAX_MESSAGE_BYTES
