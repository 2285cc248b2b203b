"""The passes that a plan counts, and that packed ones are timed as they are read."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets_tests.training.tiny import SETTINGS, base_model

pytestmark = pytest.mark.slow  # torch, transformers and PEFT take some seconds to import


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return base_model(tmp_path_factory.mktemp("base"), 1.0)


def test_packed_rows_say_how_many_examples_they_hold_and_both_measured_ones_the_same(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that one long example fills is read without the mask that keeps others apart: a line through both kinds is none."""
    from fine_tune_assets.training.planning import measured_plan
    from fine_tune_assets.training.planning.resource_plan import Lengths
    from fine_tune_assets.training.planning.shapes import Pass
    from fine_tune_assets.training.planning.step_time import PassTime, StepTime

    lengths = Lengths((100,) * 16 + (399,), (20,) * 17)
    packed = replace(SETTINGS, packing="bfd", batch_size=1)
    passes, batching = measured_plan.passes_of(base, packed, lengths)
    assert batching.strategy == "bfd"
    assert sorted(one.examples for one in passes) == [1, 4, 4, 4, 4]
    apart, _ = measured_plan.passes_of(base, replace(packed, packing="never"), lengths)
    assert {one.examples for one in apart} == {1}

    measured: list[Pass] = []

    def measure(_base: Any, _settings: Any, *both: Pass) -> StepTime:
        measured.extend(both)
        return StepTime(PassTime(1.0, 0.0), PassTime(0.0, 0.0), 0.0)

    monkeypatch.setattr(measured_plan, "measure_step_time", measure)
    plan: Any = type("Plan", (), {"settings": packed})()
    assert measured_plan.seconds_of(base, plan, lengths, Lengths((100,), (20,))) == pytest.approx(5.0)
    assert all(one.examples > 1 for one in measured)


def test_two_passes_that_are_timed_are_far_enough_apart_for_a_line() -> None:
    """Packed rows are all about as long: a second of noise between 1,000 and 1,024 tokens would be 40 at 100 tokens."""
    from fine_tune_assets.training.planning.measured_plan import timed_passes
    from fine_tune_assets.training.planning.shapes import Pass

    packed = [Pass(1, tokens, 200, examples=3) for tokens in (1000, 1010, 1020, 1024)]
    small, large = timed_passes(packed)
    assert large == packed[-1]
    assert (small.tokens, small.learned) == (512, 100)
    assert small.examples == 2  # still several: one by itself is read another way
    spread = [Pass(4, tokens, 200) for tokens in (50, 100, 300, 400)]
    assert timed_passes(spread) == (spread[1], spread[-1])
    assert timed_passes([Pass(1, 1, 1)]) == (Pass(1, 1, 1), Pass(1, 1, 1))


def test_packed_examples_are_timed_with_positions_of_their_own() -> None:
    """Each begins anew, as in the trainer; others are read with a mask of what is padding."""
    import torch

    from fine_tune_assets.training.planning.shapes import Pass
    from fine_tune_assets.training.planning.step_time import _read_as

    ids = torch.zeros((2, 10), dtype=torch.long)
    (read,) = _read_as(Pass(2, 10, 4, examples=3), ids).items()
    assert read[0] == "position_ids"
    assert read[1].tolist() == [[0, 1, 2, 3, 0, 1, 2, 3, 0, 1]] * 2
    assert list(_read_as(Pass(2, 10, 4), ids)) == ["attention_mask"]
