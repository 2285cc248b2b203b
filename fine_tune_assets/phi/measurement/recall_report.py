"""The figures of the scrubber on labelled sets for people: floors, misses and over-masking. Reads `scrub_recall` only.

A floor applies to the lowest share of any labelled set. The set of reviewers' marks has no floor, because it has misses only.
"""

from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from fine_tune_assets.core.errors import materialize_hint
from fine_tune_assets.core.proportions import wilson_interval
from fine_tune_assets.phi.measurement.recall import ALL, DIRECT, MASKED_RECALL, is_direct
from fine_tune_assets.phi.missed_identifiers.missed_terms import REVIEWER_MARKS
from fine_tune_assets.phi.scrubber import scrubber_version
from fine_tune_assets.recipes.schema import Recipe
from fine_tune_assets.tables.record_classes import iter_records
from fine_tune_assets.tables.scrubbing_rows import ScrubRecall

_OVER_MASKING = "non_phi_tokens_masked"
REPORT_COMMAND = "`fine-tune phi report`"
MISSES_PAGE = "/misses"
"""Page of the desk with the misses in their context."""


@dataclass(frozen=True)
class MeasuredFloor:
    """A recall floor of the recipe and the lowest measured recall of any labelled set."""

    label: str
    floor: float
    recall: float | None
    """None if this version of the scrubber was not measured."""
    labelled_set: str | None = None
    """The set with the lowest recall."""

    @property
    def is_met(self) -> bool:
        return self.recall is not None and self.recall >= self.floor

    def describe(self) -> str:
        """Why the floor is not met."""
        if self.recall is None:
            return (
                f"This version of the scrubber has not been measured ({self.label}). {materialize_hint('scrub_recall')} The "
                "labelled sets must contain direct identifiers, such as names."
            )
        return (
            f"The scrubber removes {self.recall:.3f} of the labelled identifiers ({self.label}), below the recipe's floor of "
            f"{self.floor}."
        )


@dataclass(frozen=True)
class Removed:
    """Labelled identifiers of one kind, or of one labelled set, and how many were removed completely."""

    name: str
    identifiers: int
    missed: int
    recall: float
    low: float
    """Lower end of the 95 % Wilson interval of the recall."""


@dataclass(frozen=True)
class KindFigures(Removed):
    is_direct: bool


@dataclass(frozen=True)
class SetFigures(Removed):
    other_words: int | None
    """Words outside of labelled identifiers; None if only some kinds were labelled, so that over-masking is unknown."""
    over_masked: int | None
    """Those of them that were removed."""
    over_masking: float | None
    has_floor: bool
    """False for the reviewers' marks."""


@dataclass(frozen=True)
class RecallReport:
    floors: tuple[MeasuredFloor, ...]
    kinds: tuple[KindFigures, ...]
    """Of all labelled sets together, most misses first."""
    sets: tuple[SetFigures, ...]

    @property
    def is_met(self) -> bool:
        return all(floor.is_met for floor in self.floors)


def measure_recipe_floors(table: pa.Table, recipe: Recipe) -> list[MeasuredFloor]:
    """The floors of a recipe against the measurement of exactly its scrubber."""
    version, settings = scrubber_version(recipe.scrubber), recipe.scrub
    rows = [
        row for row in _list_recalls(table) if row.scrubber_version == version and row.labelled_set != REVIEWER_MARKS
    ]
    floors = ((ALL, settings.recall_floor), (DIRECT, settings.direct_recall_floor))
    return [_measure_floor(rows, *floor) for floor in floors]


def _measure_floor(rows: Iterable[ScrubRecall], label: str, floor: float) -> MeasuredFloor:
    lowest = min((row for row in rows if row.label == label), key=lambda row: row.value, default=None)
    if lowest is None:
        return MeasuredFloor(label, floor, None)
    return MeasuredFloor(label, floor, lowest.value, lowest.labelled_set)


def report_recall(table: pa.Table, floors: Iterable[MeasuredFloor], indirect_kinds: Container[str]) -> RecallReport:
    """The figures of the newest measurement, which may be of another version of the scrubber: then no floor is met."""
    return RecallReport(tuple(floors), tuple(_count_kinds(table, indirect_kinds)), tuple(_describe_sets(table)))


def _count_kinds(table: pa.Table, indirect_kinds: Container[str]) -> list[KindFigures]:
    removed, totals = Counter[str](), Counter[str]()
    for row in _list_recalls(table):
        if row.label not in (ALL, DIRECT) and row.labelled_set != REVIEWER_MARKS:
            removed[row.label] += row.hits or 0
            totals[row.label] += row.total or 0
    figures = [
        KindFigures(**_share(label, removed[label], total), is_direct=is_direct(label, indirect_kinds))
        for label, total in totals.items()
        if total
    ]
    return sorted(figures, key=lambda one: (-one.missed, one.name))


def _describe_sets(table: pa.Table) -> Iterable[SetFigures]:
    over = {row.labelled_set: row for row in iter_records(ScrubRecall, table) if row.measure == _OVER_MASKING}
    for row in _list_recalls(table):
        if row.label == ALL and row.total:
            words = over.get(row.labelled_set)
            yield SetFigures(
                **_share(row.labelled_set, row.hits or 0, row.total),
                other_words=None if words is None else words.total,
                over_masked=None if words is None else words.hits,
                over_masking=None if words is None else words.value,
                has_floor=row.labelled_set != REVIEWER_MARKS,
            )


def _share(name: str, removed: int, total: int) -> dict[str, Any]:
    low, _ = wilson_interval(removed, total)
    return {"name": name, "identifiers": total, "missed": total - removed, "recall": removed / total, "low": low}


def _list_recalls(table: pa.Table) -> list[ScrubRecall]:
    return [row for row in iter_records(ScrubRecall, table) if row.measure == MASKED_RECALL]
