"""The figures that people see: floors by the gate's rule, misses by kind, and over-masking."""

from dataclasses import replace

import pyarrow as pa

from fine_tune_assets.phi.measurement.recall_report import RecallReport, measure_recipe_floors, report_recall
from fine_tune_assets.phi.missed_identifiers.missed_terms import REVIEWER_MARKS
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets.tables.scrubbing_rows import ScrubRecall
from fine_tune_assets_tests.phi.measurement.recall_rows import RECIPE, ROWS


def report(rows: list[dict[str, object]] = ROWS) -> RecallReport:
    table: pa.Table = table_from_rows(rows, ScrubRecall.SCHEMA)
    return report_recall(table, measure_recipe_floors(table, RECIPE), frozenset({"DATE"}))


def test_the_floor_is_compared_with_the_lowest_set() -> None:
    found = {floor.label: floor for floor in report().floors}
    assert (found["all"].recall, found["all"].labelled_set, found["all"].is_met) == (0.9, "b", False)
    assert (found["direct"].recall, found["direct"].labelled_set) == (0.8, "b")
    assert not report().is_met


def test_a_measurement_of_another_scrubber_meets_no_floor() -> None:
    """Its figures are shown, but say nothing about this scrubber."""
    found = report([{**one, "scrubber_version": "earlier", "value": 1.0} for one in ROWS])
    assert [floor.recall for floor in found.floors] == [None, None]
    assert not found.is_met
    assert found.kinds


def test_a_floor_is_met_at_exactly_its_value() -> None:
    exact = replace(RECIPE, scrub=replace(RECIPE.scrub, recall_floor=0.9, direct_recall_floor=0.8))
    table = table_from_rows(ROWS, ScrubRecall.SCHEMA)
    assert all(floor.is_met for floor in measure_recipe_floors(table, exact))


def test_kinds_are_pooled_over_the_sets_without_the_reviewers_marks_and_start_with_the_most_misses() -> None:
    """The marks are misses only."""
    kinds = [(kind.name, kind.identifiers, kind.missed, kind.is_direct) for kind in report().kinds]
    assert kinds == [("NAME", 70, 2, True), ("DATE", 50, 1, False)]
    assert all(kind.low < kind.recall for kind in report().kinds)


def test_over_masking_is_unknown_where_only_some_kinds_were_labelled() -> None:
    """Unknown must not read as zero."""
    sets = {one.name: one for one in report().sets}
    assert (sets["a"].other_words, sets["a"].over_masked, sets["a"].over_masking) == (1_000, 30, 0.03)
    assert (sets["b"].other_words, sets["b"].over_masked, sets["b"].over_masking) == (None, None, None)
    assert (sets[REVIEWER_MARKS].has_floor, sets["a"].has_floor) == (False, True)
