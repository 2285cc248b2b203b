"""A verdict's document on its way to a page: every figure that is there, nothing invented, and no failure whatever it holds."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets.desk.plots import histogram, intervals, margin_of, nice_ticks
from fine_tune_assets.desk.verdict_document import Bin, Document, read_document
from fine_tune_assets_tests.desk.verdict_documents import DOCUMENT, FORMER, evidence

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


def draw(document: Document) -> None:
    """All that the page does with it."""
    assert document.families is not None
    histogram(document.candidate_grades, document.incumbent_grades)
    histogram(document.differences)
    intervals(document.figures)


def test_all_of_it_is_read() -> None:
    found = read_document(evidence(DOCUMENT))
    assert [title for title, _ in found.families] == ["The task itself", "General abilities", "Subgroups", "Robustness"]
    assert (found.figures[0].difference, found.figures[0].adjusted_p, found.figures[0].items) == (0.48, 0.012, 180)
    assert (found.examples, found.needed, found.detectable) == (180, 240, 0.35)
    assert (found.judge.agreement, found.judge.floor, found.judge.is_licensed) == (0.62, 0.6, True)
    assert found.preferences is not None
    assert (found.preferences.share, found.preferences.low, found.preferences.consistent) == (0.601, 0.53, 0.84)
    assert found.differences == (Bin(-3, -1, 11), Bin(-1, 1, 120), Bin(1, 3, 49))
    assert found.fingerprints["judge_scores"] == "scores-1"
    assert found.gate == {
        "minimum_gain": "0.0",
        "minimum_examples": "100",
        "requires": "abilities, safety",
        "ability_budgets": "copa 0.1",
    }


def test_a_document_of_before_is_shown_as_far_as_it_goes() -> None:
    """Its outcomes were never written down, and are not made up now."""
    found = read_document(evidence(FORMER))
    target, copa, _ = found.figures
    assert (target.candidate, target.incumbent, target.difference, target.low) == (5.31, 4.47, 0.84, 0.48)
    assert (copa.name, copa.difference, copa.low) == ("copa", pytest.approx(-0.04, abs=1e-9), None)
    assert {figure.outcome for figure in found.figures} == {""}
    assert (found.judge.agreement, found.judge.version, found.judge.is_licensed) == (0.47, "judge-0", None)
    assert (found.examples, found.candidate_grades, found.preferences) == (89, (), None)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, kept in inner for found in ((*path, key), *_paths(kept, (*path, key)))]


@given(st.sampled_from([DOCUMENT, FORMER]), st.data())
def test_whatever_is_missing_or_of_another_kind_the_rest_is_shown(whole: dict[str, Any], data: st.DataObject) -> None:
    """Documents are kept for ever and programs change."""
    document = copy.deepcopy(whole)
    path = data.draw(st.sampled_from(_paths(document)))
    place: Any = document
    for key in path[:-1]:
        place = place[key]
    if data.draw(st.booleans()) and isinstance(place, dict):
        del place[path[-1]]
    else:
        place[path[-1]] = data.draw(JSON)
    found = read_document(evidence(document))
    draw(found)
    kept = whole["figures"] if "figures" in whole else whole["abilities"]
    if path[0] not in ("figures", "gain", "abilities"):
        assert len(found.figures) >= len(kept)


@given(JSON)
def test_any_json_is_a_document_without_figures_at_least(value: Any) -> None:
    found = read_document(evidence(value))
    draw(found)
    assert [figure.difference for figure in found.figures if figure.difference is not None] == []


@pytest.mark.parametrize(
    "text", ["", "{", "null", "[]", '{"gain": 1.0}', '{"figures": [null, 3, {"difference": NaN}]}']
)
def test_what_is_no_document_has_no_figure(text: str) -> None:
    """And a NaN is no figure."""
    found = read_document(text)
    assert [figure.difference for figure in found.figures if figure.difference is not None] == []


def test_the_margin_is_drawn_where_the_difference_must_not_pass() -> None:
    """A gain that is asked for is to the right of 0, a loss that is allowed to the left, however its sign was written."""
    target, copa, *_ = read_document(evidence(DOCUMENT)).figures
    assert margin_of(target) == 0.0
    assert margin_of(copa) == -0.05


def test_points_and_shares_are_drawn_apart() -> None:
    """A loss of .1 of all answers is not small beside a gain of half a point."""
    plots = intervals(read_document(evidence(DOCUMENT)).figures)
    assert [(plot.unit, len(plot.rows)) for plot in plots] == [("points", 1), ("share", 3)]
    for plot in plots:
        for row in plot.rows:
            assert row.low is not None
            assert row.high is not None
            assert row.low < row.at < row.high


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_few_and_between_the_ends(low: float, width: float) -> None:
    """Any scale gets an axis that can be read."""
    ticks = nice_ticks(low, low + width)
    assert len(ticks) <= 8
    room = 1e-6 * width + 1e-9 * abs(low)
    assert all(low - room <= value <= low + width + room for value, _ in ticks)
