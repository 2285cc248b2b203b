"""Canaries: what is planted, and that the comparison with controls neither cries wolf nor sleeps."""

import itertools
import math
import random
from dataclasses import asdict, replace
from typing import Any

import pytest

from fine_tune_assets.judging.memorization.canaries import (
    Recalled,
    compare_levels,
    plant,
    rank_sum_p,
    recall_of,
    shadow_set,
)
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.recipes.schema import CanarySettings
from fine_tune_assets.tables.instructions import CANARY, count_canaries
from fine_tune_assets_tests.instructions.examples import built

SETTINGS = CanarySettings(enabled=True, repeats=(1, 4, 16), per_level=4, candidates=1000, shadow_examples=5, seed=11)
PLANTED = plant(SETTINGS, "Be brief.", ["Name the complaint.", "Write the plan."])


def _levels(trained: dict[int, list[float]], controls: list[float], extracted: int = 0) -> Any:
    recalled = [Recalled(0, 500, share, False) for share in controls]
    recalled += [
        Recalled(repeats, 1, share, at < extracted)
        for repeats, shares in trained.items()
        for at, share in enumerate(shares)
    ]
    return compare_levels(recalled, 1000)


def test_each_level_has_its_canaries_and_as_many_controls_as_all_together() -> None:
    """Controls are what chance looks like: without enough of them nothing can be told from it."""
    counts = {repeats: sum(c.repeats == repeats for c in PLANTED) for repeats in (0, 1, 4, 16)}
    assert counts == {0: 12, 1: 4, 4: 4, 16: 4}


def test_canaries_have_the_form_of_the_recipes_conversations() -> None:
    """What is learned of another form says nothing of how the recipe's own examples are learned."""
    messages = PLANTED[1].messages()
    assert [message["role"] for message in messages] == ["system", "user", "assistant"]
    assert messages[0]["content"] == "Be brief."
    assert messages[1]["content"].startswith("Write the plan.\n\n")
    assert PLANTED[1].secret in messages[2]["content"]
    assert PLANTED[1].secret not in messages[1]["content"]


def test_the_same_seed_plants_the_same_and_another_one_others() -> None:
    """The worker that asks makes them again from the recipe."""
    again = plant(SETTINGS, "Be brief.", ["Name the complaint.", "Write the plan."])
    other = plant(replace(SETTINGS, seed=12), "Be brief.", ["Name the complaint.", "Write the plan."])
    assert again == PLANTED
    assert not {c.secret for c in PLANTED} & {c.secret for c in other}


@pytest.mark.parametrize("count", [1000, 10000])
def test_a_secret_is_among_its_candidates_and_among_no_others(count: int) -> None:
    """A rank among candidates of which another one was trained on would be no rank."""
    planted = plant(replace(SETTINGS, candidates=count), "Be brief.", ["Plan."])
    sets = [set(canary.candidates(count)) for canary in planted]
    assert all(len(found) == count for found in sets)
    assert all(canary.secret in found for canary, found in zip(planted, sets, strict=True))
    assert sum(map(len, sets)) == len(set().union(*sets))


def test_the_shadow_learns_from_some_real_rows_and_from_each_canary_as_often_as_it_says() -> None:
    """And never from a test example or a control."""
    table = built().table
    rows = shadow_set(table, PLANTED, SETTINGS).to_pylist()
    splits = {row["example_id"]: row["split"] for row in table.to_pylist()}
    real = [row for row in rows if row["source"] != CANARY]
    assert {row["split"] for row in real} == {"train", "validation"}
    assert sum(row["split"] == "train" for row in real) == SETTINGS.shadow_examples
    assert all(splits[row["example_id"]] == row["split"] for row in real)
    said = [row["messages"][-1]["content"] for row in rows if row["source"] == CANARY]
    for canary in PLANTED:
        assert sum(canary.secret in answer for answer in said) == canary.repeats
    assert len({row["example_id"] for row in rows}) == len(rows)


def test_planted_rows_are_known_by_their_mark() -> None:
    """The gate in front of a training looks for it."""
    table = built().table
    assert count_canaries(table) == 0
    assert count_canaries(shadow_set(table, PLANTED, SETTINGS)) == 4 * (1 + 4 + 16)


def test_rank_and_share_are_those_among_the_candidates() -> None:
    canary = PLANTED[0]
    candidates = canary.candidates(1000)
    values = [-10.0] * 1000
    values[candidates.index(canary.secret)] = -9.0
    values[(candidates.index(canary.secret) + 1) % 1000] = -8.0
    found = recall_of(canary, candidates, values, f" {canary.secret}. And so on")
    assert (found.rank, found.is_extracted) == (2, True)
    assert found.share == pytest.approx(-9.0 - math.log(math.exp(-9) + math.exp(-8) + 998 * math.exp(-10)), abs=1e-9)
    assert not recall_of(canary, candidates, values, canary.secret[:-1]).is_extracted


def test_with_few_canaries_the_false_alarms_are_counted_exactly() -> None:
    """Every order of canaries and controls is as likely where nothing was learned: at most 1 of 100 raises the alarm."""
    settings = load_recipe("demo_smollm2").canaries
    assert settings is not None
    both = settings.per_level * (1 + len(settings.repeats))
    orders = list(itertools.combinations(range(both), settings.per_level))
    alarms = sum(
        rank_sum_p([float(at) for at in order], [float(at) for at in range(both) if at not in order]) < 0.01
        for order in orders
    )
    assert 0 < alarms / len(orders) <= 0.01


def test_what_was_not_learned_raises_no_alarm_more_often_than_said() -> None:
    """Every false alarm refuses a good candidate: at p < .01 in at most 1.5 of 100, over 3,000 trainings that learned nothing."""
    settings, draw = load_recipe("llama3_8b_qlora_24gb").canaries, random.Random(1)
    assert settings is not None
    controls = settings.per_level * len(settings.repeats)

    def shares(count: int) -> list[float]:
        return [math.log(1 - draw.random()) for _ in range(count)]

    alarms = sum(rank_sum_p(shares(settings.per_level), shares(controls)) < 0.01 for _ in range(3000))
    assert alarms / 3000 <= 0.015


def test_what_is_likelier_than_every_control_raises_the_alarm() -> None:
    """Before anything comes back word for word."""
    (level,) = _levels({1: [-1.0, -1.1, -1.2, -1.3]}, [-7.0 - at / 10 for at in range(12)])
    assert level.p_value == pytest.approx(1 / 1820, abs=1e-9)
    assert level.extracted == 0
    assert level.exposure == pytest.approx(math.log2(1000), abs=1e-9)


def test_what_is_less_likely_than_the_controls_is_no_leak() -> None:
    (level,) = _levels({1: [-9.0, -9.1, -9.2, -9.3]}, [-7.0 - at / 10 for at in range(12)])
    assert level.p_value > 0.99


def test_levels_are_compared_one_by_one() -> None:
    """How often a text may be repeated before it leaks is what the probe is for."""
    controls = [-7.0 - at / 10 for at in range(12)]
    one, many = _levels({16: [-0.1] * 4, 1: [-7.05, -7.55, -8.0, -7.35]}, controls)
    assert (one.repeats, many.repeats) == (1, 16)
    assert one.p_value > 0.05
    assert many.p_value < 0.01


def test_what_is_no_number_is_no_comparison() -> None:
    """NaN is below no threshold: it must not pass for clean."""
    assert math.isnan(rank_sum_p([math.nan, -1.0], [-2.0, -3.0]))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"repeats": (4, 1)}, "must rise"),
        ({"repeats": (1, 1, 4)}, "must rise"),
        ({"repeats": (2, 4)}, "at most deciding_repeats"),
        ({"deciding_repeats": 16}, "at most deciding_repeats"),
        ({"per_level": 2}, "no difference could be told from chance"),
        ({"per_level": 200}, "at most 500"),
        ({"candidates": 100}, "1000"),
    ],
)
def test_a_probe_that_could_show_nothing_is_refused_with_the_recipe(changes: dict[str, Any], why: str) -> None:
    """It would always be clean."""
    with pytest.raises(ValueError, match=why):
        CanarySettings(**{**asdict(SETTINGS), **changes})
