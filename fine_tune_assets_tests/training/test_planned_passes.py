"""Planned passes match the training, and packed passes are timed as in training."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets_tests.training.tiny_training import SETTINGS, base_model

pytestmark = pytest.mark.slow  # importing torch, transformers and PEFT takes seconds


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return base_model(tmp_path_factory.mktemp("base"), 1.0)


def test_packed_rows_report_their_examples_and_both_timed_passes_have_the_same_number(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row with a single example needs no isolation mask and is faster: a line through both kinds would be wrong."""
    from fine_tune_assets.training.planning import measured_plan
    from fine_tune_assets.training.planning.resource_plan import Lengths
    from fine_tune_assets.training.planning.shapes import Pass
    from fine_tune_assets.training.planning.step_time import PassTime, StepTime

    lengths = Lengths((100,) * 16 + (399,), (20,) * 17)
    packed = replace(SETTINGS, packing="bfd", batch_size=1)
    passes, batching = measured_plan.plan_passes(base, packed, lengths)
    assert batching.strategy == "bfd"
    assert sorted(one.examples for one in passes) == [1, 4, 4, 4, 4]
    apart, _ = measured_plan.plan_passes(base, replace(packed, packing="never"), lengths)
    assert {one.examples for one in apart} == {1}

    measured: list[Pass] = []

    def measure(_base: Any, _settings: Any, *both: Pass) -> StepTime:
        measured.extend(both)
        return StepTime(PassTime(1.0, 0.0), PassTime(0.0, 0.0), 0.0)

    monkeypatch.setattr(measured_plan, "measure_step_time", measure)
    plan: Any = type("Plan", (), {"settings": packed})()
    assert measured_plan.estimate_seconds(base, plan, lengths, Lengths((100,), (20,))) == pytest.approx(5.0)
    assert all(one.examples > 1 for one in measured)


def test_the_two_timed_passes_differ_enough_for_a_line() -> None:
    """Packed rows have similar lengths: a second of noise between 1,000 and 1,024 tokens would be 40 s at 100 tokens."""
    from fine_tune_assets.training.planning.measured_plan import choose_timed_passes
    from fine_tune_assets.training.planning.shapes import Pass

    packed = [Pass(1, tokens, 200, examples=3) for tokens in (1000, 1010, 1020, 1024)]
    small, large = choose_timed_passes(packed)
    assert large == packed[-1]
    assert (small.tokens, small.supervised_tokens) == (512, 100)
    assert small.examples == 2  # still several: a single one takes another code path
    spread = [Pass(4, tokens, 200) for tokens in (50, 100, 300, 400)]
    assert choose_timed_passes(spread) == (spread[1], spread[-1])
    assert choose_timed_passes([Pass(1, 1, 1)]) == (Pass(1, 1, 1), Pass(1, 1, 1))


def test_packed_examples_are_timed_with_restarting_positions() -> None:
    """As in the trainer; other rows have a padding mask."""
    import torch

    from fine_tune_assets.training.planning.shapes import Pass
    from fine_tune_assets.training.planning.step_time import _attention_inputs

    ids = torch.zeros((2, 10), dtype=torch.long)
    (read,) = _attention_inputs(Pass(2, 10, 4, examples=3), ids).items()
    assert read[0] == "position_ids"
    assert read[1].tolist() == [[0, 1, 2, 3, 0, 1, 2, 3, 0, 1]] * 2
    assert list(_attention_inputs(Pass(2, 10, 4), ids)) == ["attention_mask"]
