"""Access labels restrict who can see a document: a caller needs at least one of its labels.

This module validates labels. They are stored with users, API keys and documents.
"""

import re
from collections.abc import Collection

from fine_tune_assets.core.errors import FineTuneError

MAX_LABELS = 64
"""Per list, since lists are sent in an HTTP header."""
_LABEL = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class LabelError(FineTuneError):
    """A label is malformed, or there are too many. The message repeats no label."""


def is_label(text: str) -> bool:
    return _LABEL.fullmatch(text) is not None


def check_labels(labels: Collection[str]) -> tuple[str, ...]:
    """The labels sorted and without duplicates. Raises LabelError.

    >>> check_labels("pharmacy hr  hr".split())
    ('hr', 'pharmacy')
    """
    unique = tuple(sorted(set(labels)))
    if not all(map(is_label, unique)):
        raise LabelError("A label consists of lower-case letters, digits, - and _, and has at most 63 characters.")
    if len(unique) > MAX_LABELS:
        raise LabelError(f"At most {MAX_LABELS} labels are allowed.")
    return unique
