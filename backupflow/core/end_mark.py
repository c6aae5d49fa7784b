"""What is known of a router's end mark: (what was known, what happened) -> what is known now.

A small menu is asked first, after an export that was given anyway, so that no router can lose one over the question.
Then an export has to show it once; from then on one without it is cut.
"""

from __future__ import annotations

from backupflow.core.model import EndMark


def asked(known: EndMark) -> bool:
    """Whether the export itself is asked for with an end mark."""
    return known in {EndMark.REPEATED, EndMark.REQUIRED}


def after_probe(*, repeated: bool | None) -> EndMark:
    """After the question to a small menu; None: no answer came, so it is asked again next time."""
    if repeated is None:
        return EndMark.UNTRIED
    return EndMark.REPEATED if repeated else EndMark.ABSENT


def after_export(known: EndMark, *, ended: bool, upgraded: bool) -> EndMark:
    """After a whole export that is believed; another version may know what the one before did not."""
    if ended:
        return EndMark.REQUIRED
    if asked(known):
        return EndMark.ABSENT
    return EndMark.UNTRIED if upgraded else known
