"""The gate: a pure function of the figures, and every way in which it closes."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.tables import JUDGE_SCORES, table_of
from fine_tune_assets.judging.statistics import Interval
from fine_tune_assets.judging.verdicts import Evidence, compare_scores, decide
from fine_tune_assets.recipes.loading import load_recipe

GATE = load_recipe("demo_smollm2").gate
GOOD = Evidence(
    adapter_id="adapter",
    base_fingerprint="base",
    instruction_set_fingerprint="set",
    recipe_fingerprint="recipe",
    gate={},
    incumbent="base",
    judge_version="judge",
    judge_agreement=0.5,
    agreement_floor=0.4,
    examples=40,
    missing_grades=0,
    candidate_score=5.0,
    incumbent_score=4.0,
    gain=Interval(1.0, 0.4, 1.6),
    abilities=(("copa", 0.6, 0.58),),
)


def test_a_clearly_better_candidate_with_all_its_evidence_is_promoted() -> None:
    """The refusals below mean nothing if nothing could pass."""
    assert decide(GOOD, GATE).decision == "promote"


@pytest.mark.parametrize(
    ("changes", "decision", "reason"),
    [
        ({"gain": Interval(-1.0, -1.6, -0.4)}, "refuse", "Worse than the incumbent"),
        ({"abilities": (("copa", 0.9, 0.5),)}, "refuse", "Forgets copa"),
        ({"gain": Interval(0.2, -0.1, 0.5)}, "hold", "Not clearly better"),
        ({"gain": None, "candidate_score": None}, "hold", "no comparison"),
        ({"examples": 3}, "hold", "Not enough evidence"),
        ({"missing_grades": 20}, "hold", "no grade"),
        ({"judge_agreement": None}, "hold", "not measured against experts"),
        ({"judge_agreement": 0.1}, "hold", "may not decide"),
        ({"abilities": ()}, "hold", "Retained abilities were not measured"),
        ({"incumbent": "adapter"}, "hold", "serves now"),
        ({"judge_agreement": math.nan}, "hold", "may not decide"),
        ({"gain": Interval(math.nan, math.nan, math.nan)}, "hold", "Not clearly better"),
        ({"abilities": (("copa", 0.6, math.nan),)}, "hold", "copa was not measured"),
    ],
)
def test_the_gate_closes(changes: dict[str, object], decision: str, reason: str) -> None:
    """A bad figure refuses, a missing one holds, and the reason is in plain words."""
    decided = decide(replace(GOOD, **changes), GATE)  # type: ignore[arg-type]
    assert decided.decision == decision
    assert any(reason in r for r in decided.reasons)


@given(missing=st.sets(st.sampled_from(["gain", "judge_agreement", "abilities"]), min_size=1))
def test_a_missing_figure_never_helps(missing: set[str]) -> None:
    """Whatever is missing, nothing is promoted."""
    gone = {name: () if name == "abilities" else None for name in missing}
    assert decide(replace(GOOD, **gone), GATE).decision != "promote"  # type: ignore[arg-type]


def _scores(*rows: tuple[str, str, float | None]) -> object:
    return table_of(
        [
            {
                "model": model,
                "model_fingerprint": model,
                "adapter_id": "adapter",
                "example_id": example,
                "patient_key": example,
                "answer": "a",
                "score": score,
                "reason": "r",
                "unsupported_numbers": 0,
                "is_finished": True,
                "judge_version": "j",
            }
            for model, example, score in rows
        ],
        JUDGE_SCORES,
    )


def test_an_answer_without_a_grade_is_missing_and_not_zero() -> None:
    """A zero would make the model whose judge failed look bad, or the other one good."""
    table = _scores(("base", "e1", 4.0), ("adapter", "e1", 6.0), ("base", "e2", None), ("adapter", "e2", 9.0))
    examples, missing, old, new, gain = compare_scores(table, "base")
    assert (examples, missing, old, new) == (1, 1, 4.0, 6.0)
    assert gain is not None
    assert gain.value == pytest.approx(2.0, abs=1e-9)


def test_a_grade_that_is_not_a_number_is_missing() -> None:
    """It would make the gain NaN, and that is below no threshold."""
    table = _scores(("base", "e1", 4.0), ("adapter", "e1", 6.0), ("base", "e2", 4.0), ("adapter", "e2", math.nan))
    examples, missing, _, new, gain = compare_scores(table, "base")
    assert (examples, missing, new) == (1, 1, 6.0)
    assert gain is not None
    assert math.isfinite(gain.low)


def test_an_incumbent_that_was_not_graded_closes_the_gate() -> None:
    """A comparison with some other model would say nothing about what serves."""
    with pytest.raises(GateClosedError, match="was not graded"):
        compare_scores(_scores(("base", "e1", 4.0), ("adapter", "e1", 6.0)), "someone else")


def test_different_examples_close_the_gate() -> None:
    with pytest.raises(GateClosedError, match="same examples"):
        compare_scores(_scores(("base", "e1", 4.0), ("adapter", "e2", 6.0)), "base")


@given(st.permutations(list(range(8))))
def test_the_order_of_examples_changes_nothing(order: list[int]) -> None:
    """The same figures give the same interval, however the table is sorted."""
    rows = [("base", f"e{i}", 3.0 + i / 7) for i in range(8)] + [("adapter", f"e{i}", 4.0 + (i % 3)) for i in range(8)]
    shuffled = [rows[i] for i in order] + [rows[8 + i] for i in reversed(order)]
    assert compare_scores(_scores(*shuffled), "base") == compare_scores(_scores(*rows), "base")
