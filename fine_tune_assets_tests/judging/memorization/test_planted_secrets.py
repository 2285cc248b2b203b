"""Planted secrets: their form, and the error rates of the comparison with controls."""

import itertools
import math
import random
from dataclasses import asdict, replace
from typing import Any

import pytest

from fine_tune_assets.judging.memorization.planted_secrets import (
    SecretRecall,
    build_shadow_set,
    compare_levels,
    measure_recall,
    plant_secrets,
    rank_sum_p,
)
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.recipes.schema import PlantedSecretSettings
from fine_tune_assets.tables.instruction_rows import PLANTED_SECRET, count_planted_secrets
from fine_tune_assets_tests.instructions.examples import built

SETTINGS = PlantedSecretSettings(
    enabled=True, repeats=(1, 4, 16), per_level=4, alternatives=1000, shadow_examples=5, seed=11
)
PLANTED = plant_secrets(SETTINGS, "Be brief.", ["Name the complaint.", "Write the plan."])


def _levels(trained: dict[int, list[float]], controls: list[float], extracted: int = 0) -> Any:
    recalled = [SecretRecall(0, 500, share, False) for share in controls]
    recalled += [
        SecretRecall(repeats, 1, share, at < extracted)
        for repeats, shares in trained.items()
        for at, share in enumerate(shares)
    ]
    return compare_levels(recalled, 1000)


def test_controls_are_as_many_as_all_secrets() -> None:
    """The controls estimate chance, which needs enough of them."""
    counts = {repeats: sum(c.repeats == repeats for c in PLANTED) for repeats in (0, 1, 4, 16)}
    assert counts == {0: 12, 1: 4, 4: 4, 16: 4}


def test_secrets_have_the_form_of_the_recipes_conversations() -> None:
    """Memorization of another form would say nothing about the recipe's examples."""
    messages = PLANTED[1].messages()
    assert [message["role"] for message in messages] == ["system", "user", "assistant"]
    assert messages[0]["content"] == "Be brief."
    assert messages[1]["content"].startswith("Write the plan.\n\n")
    assert PLANTED[1].secret in messages[2]["content"]
    assert PLANTED[1].secret not in messages[1]["content"]


def test_the_secrets_are_deterministic_by_seed() -> None:
    """The worker regenerates them from the recipe."""
    again = plant_secrets(SETTINGS, "Be brief.", ["Name the complaint.", "Write the plan."])
    other = plant_secrets(replace(SETTINGS, seed=12), "Be brief.", ["Name the complaint.", "Write the plan."])
    assert again == PLANTED
    assert not {c.secret for c in PLANTED} & {c.secret for c in other}


@pytest.mark.parametrize("count", [1000, 10000])
def test_a_secret_is_among_its_own_alternatives_only(count: int) -> None:
    """A trained secret among the alternatives of another would distort its rank."""
    planted = plant_secrets(replace(SETTINGS, alternatives=count), "Be brief.", ["Plan."])
    sets = [set(secret.alternatives(count)) for secret in planted]
    assert all(len(found) == count for found in sets)
    assert all(secret.secret in found for secret, found in zip(planted, sets, strict=True))
    assert sum(map(len, sets)) == len(set().union(*sets))


def test_the_shadow_set_has_real_rows_and_each_secret_with_its_repeats() -> None:
    """It has neither test examples nor controls."""
    table = built().table
    rows = build_shadow_set(table, PLANTED, SETTINGS).to_pylist()
    splits = {row["example_id"]: row["split"] for row in table.to_pylist()}
    real = [row for row in rows if row["source"] != PLANTED_SECRET]
    assert {row["split"] for row in real} == {"train", "validation"}
    assert sum(row["split"] == "train" for row in real) == SETTINGS.shadow_examples
    assert all(splits[row["example_id"]] == row["split"] for row in real)
    answers = [row["messages"][-1]["content"] for row in rows if row["source"] == PLANTED_SECRET]
    for secret in PLANTED:
        assert sum(secret.secret in answer for answer in answers) == secret.repeats
    assert len({row["example_id"] for row in rows}) == len(rows)


def test_planted_rows_are_marked() -> None:
    """The gate before a training detects them by this mark."""
    table = built().table
    assert count_planted_secrets(table) == 0
    assert count_planted_secrets(build_shadow_set(table, PLANTED, SETTINGS)) == 4 * (1 + 4 + 16)


def test_rank_and_share_refer_to_the_alternatives() -> None:
    secret = PLANTED[0]
    alternatives = secret.alternatives(1000)
    values = [-10.0] * 1000
    values[alternatives.index(secret.secret)] = -9.0
    values[(alternatives.index(secret.secret) + 1) % 1000] = -8.0
    found = measure_recall(secret, alternatives, values, f" {secret.secret}. And so on")
    assert (found.rank, found.is_extracted) == (2, True)
    assert found.log_share == pytest.approx(
        -9.0 - math.log(math.exp(-9) + math.exp(-8) + 998 * math.exp(-10)), abs=1e-9
    )
    assert not measure_recall(secret, alternatives, values, secret.secret[:-1]).is_extracted


def test_the_false_alarm_rate_is_exact_with_few_secrets() -> None:
    """Without memorization, every order of secrets and controls is equally likely; at most 1 of 100 raises an alarm."""
    settings = load_recipe("demo_smollm2").planted_secrets
    assert settings is not None
    both = settings.per_level * (1 + len(settings.repeats))
    orders = list(itertools.combinations(range(both), settings.per_level))
    alarms = sum(
        rank_sum_p([float(at) for at in order], [float(at) for at in range(both) if at not in order]) < 0.01
        for order in orders
    )
    assert 0 < alarms / len(orders) <= 0.01


def test_the_false_alarm_rate_is_bounded() -> None:
    """A false alarm refuses a good candidate: at most 1.5 of 100 at p < 0.01, over 3,000 trainings without memorization."""
    settings, draw = load_recipe("llama3_8b_qlora_24gb").planted_secrets, random.Random(1)
    assert settings is not None
    controls = settings.per_level * len(settings.repeats)

    def shares(count: int) -> list[float]:
        return [math.log(1 - draw.random()) for _ in range(count)]

    alarms = sum(rank_sum_p(shares(settings.per_level), shares(controls)) < 0.01 for _ in range(3000))
    assert alarms / 3000 <= 0.015


def test_secrets_likelier_than_every_control_raise_an_alarm() -> None:
    """Even if none is extracted verbatim."""
    (level,) = _levels({1: [-1.0, -1.1, -1.2, -1.3]}, [-7.0 - at / 10 for at in range(12)])
    assert level.p_value == pytest.approx(1 / 1820, abs=1e-9)
    assert level.extracted == 0
    assert level.exposure == pytest.approx(math.log2(1000), abs=1e-9)


def test_secrets_less_likely_than_the_controls_are_no_leak() -> None:
    (level,) = _levels({1: [-9.0, -9.1, -9.2, -9.3]}, [-7.0 - at / 10 for at in range(12)])
    assert level.p_value > 0.99


def test_levels_are_compared_separately() -> None:
    """The test measures how many repeats lead to a leak."""
    controls = [-7.0 - at / 10 for at in range(12)]
    one, many = _levels({16: [-0.1] * 4, 1: [-7.05, -7.55, -8.0, -7.35]}, controls)
    assert (one.repeats, many.repeats) == (1, 16)
    assert one.p_value > 0.05
    assert many.p_value < 0.01


def test_a_share_that_is_not_a_number_gives_no_p_value() -> None:
    """NaN is below no threshold and must not count as clean."""
    assert math.isnan(rank_sum_p([math.nan, -1.0], [-2.0, -3.0]))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"repeats": (4, 1)}, "repeats must be ascending"),
        ({"repeats": (1, 1, 4)}, "repeats must be ascending"),
        ({"repeats": (2, 4)}, "at most deciding_repeats"),
        ({"deciding_repeats": 16}, "at most deciding_repeats"),
        ({"per_level": 2}, "per_level is too small"),
        ({"per_level": 200}, "at most 500"),
        ({"alternatives": 100}, "1000"),
    ],
)
def test_settings_without_power_are_refused(changes: dict[str, Any], why: str) -> None:
    """Such a test would always pass."""
    with pytest.raises(ValueError, match=why):
        PlantedSecretSettings(**{**asdict(SETTINGS), **changes})
