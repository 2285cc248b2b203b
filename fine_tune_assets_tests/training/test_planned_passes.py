"""Planned passes match the training."""

from dataclasses import replace
from pathlib import Path

import pytest

from fine_tune_assets_tests.training.tiny_training import SETTINGS, base_model

pytestmark = pytest.mark.slow  # importing torch, transformers and PEFT takes seconds


def test_packed_examples_share_the_rows_of_the_planned_passes(tmp_path: Path) -> None:
    """As in the trainer: 16 examples of 100 tokens fill four rows of 400."""
    from fine_tune_assets.training.planning.measured_plan import plan_passes
    from fine_tune_assets.training.planning.resource_plan import Lengths

    base, lengths = base_model(tmp_path / "base", 1.0), Lengths((100,) * 16 + (399,), (20,) * 17)
    packed = replace(SETTINGS, packing="bfd", batch_size=1)
    passes, batching = plan_passes(base, packed, lengths)
    assert batching.strategy == "bfd"
    assert sorted(one.tokens for one in passes) == [399, 400, 400, 400, 400]
    assert sorted(one.supervised_tokens for one in passes) == [20, 80, 80, 80, 80]
    apart, _ = plan_passes(base, replace(packed, packing="never"), lengths)
    assert len(apart) == 17
