"""Every file of a batch has its place: it was read, or it is quarantined, or it is ignored for a reason.

Owns how files are counted. Does not know how they are read.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from fine_tune_assets.reports.batches import Ignored

WHOLE_FOLDER = "."
"""Stands in the place of a file where there is none."""


@dataclass(frozen=True)
class Accounting:
    """Files of a batch, entries of archives included."""

    files: int
    files_read: int
    """At least one report came of it."""
    files_quarantined: int
    """No report came of it, and why stands in `unreadable_reports`."""
    files_ignored: int

    @property
    def is_balanced(self) -> bool:
        return self.files_read + self.files_quarantined + self.files_ignored == self.files


def account(files: int, reports: pa.Table, unreadable: pa.Table, ignored: Mapping[str, Ignored]) -> Accounting:
    """Count the files that the tables name. A file that a reader lost, or that has two places, breaks the balance."""
    read = set(reports.column("origin_file").to_pylist())
    quarantined = set(unreadable.column("origin_file").to_pylist()) - {WHOLE_FOLDER} - read
    return Accounting(files, len(read), len(quarantined), len(ignored))


def count_by_reason(ignored: Mapping[str, Ignored]) -> dict[str, int]:
    return dict(sorted(Counter(why.value for why in ignored.values()).items()))
