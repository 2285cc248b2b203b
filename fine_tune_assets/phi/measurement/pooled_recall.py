"""Recall by kind of identifier over all labelled sets, to look at. Floors use the lowest recall of any set (`recall.py`)."""

from collections import Counter

import pyarrow as pa

from fine_tune_assets.phi.measurement.recall import MASKED_RECALL, REVIEWER_MARKS
from fine_tune_assets.tables.record_classes import iter_records
from fine_tune_assets.tables.scrubbing_rows import ScrubRecall


def pooled_recall(table: pa.Table) -> dict[str, float]:
    """Kind of identifier → share removed in all labelled sets together, lowest first. Reviewers' marks are excluded."""
    hits, totals = Counter[str](), Counter[str]()
    for row in iter_records(ScrubRecall, table):
        is_counted = row.measure == MASKED_RECALL and row.labelled_set != REVIEWER_MARKS
        if is_counted and row.hits is not None and row.total is not None:
            hits[row.label] += row.hits
            totals[row.label] += row.total
    shares = {label: hits[label] / total for label, total in totals.items() if total}
    return dict(sorted(shares.items(), key=lambda item: item[1]))
