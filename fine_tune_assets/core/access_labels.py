"""Access labels: words that say who may see a document. Whoever holds one of a document's labels finds it.

Owns what a label looks like, and lists of them in a row, a header or a form. Who holds which is said where people, keys and
documents are kept.
"""

import re
from collections.abc import Collection

from fine_tune_assets.core.errors import FineTuneError

MOST_LABELS = 64
"""In one list: they travel in a header."""
_LABEL = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class LabelError(FineTuneError):
    """A word that is no label, or too many of them. Its message repeats none."""


def is_label(text: str) -> bool:
    return _LABEL.fullmatch(text) is not None


def check_labels(labels: Collection[str]) -> tuple[str, ...]:
    """Each once, in their order. Raises LabelError.

    >>> check_labels("pharmacy hr  hr".split())
    ('hr', 'pharmacy')
    """
    found = tuple(sorted(set(labels)))
    if not all(map(is_label, found)):
        raise LabelError("A label is a word in small letters, digits, - and _, of at most 63 characters.")
    if len(found) > MOST_LABELS:
        raise LabelError(f"There may be at most {MOST_LABELS} labels.")
    return found
