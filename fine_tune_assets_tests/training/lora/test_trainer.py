"""A failed training stores no adapter; a completed one reports what it did."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets_tests.training.tiny_training import SETTINGS, base_model, instruction_set

pytestmark = pytest.mark.slow  # TRL takes 13 s to import


def _train(tmp_path: Path, norm: float = 1.0, rows: int = 4, progress: Any = ignore_progress, **changed: Any) -> Any:
    from fine_tune_assets.training.lora.trainer import train_adapter

    base = base_model(tmp_path / "base", norm)
    return train_adapter(
        instruction_set(rows),
        base,
        "base-1",
        tmp_path / "adapters",
        tmp_path / "checkpoints",
        replace(SETTINGS, **changed),
        1,
        progress,
    )


def test_an_adapter_is_stored_under_its_fingerprint_and_checkpoints_are_removed(tmp_path: Path) -> None:
    """Control for the next test."""
    result = _train(tmp_path)
    assert list((tmp_path / "adapters").iterdir()) == [result.folder]
    assert list((tmp_path / "checkpoints").iterdir()) == []


@pytest.mark.parametrize(
    ("step", "changes"),
    [("0", {"norm": float("nan")}), ("[1-9]", {"norm": 1e30, "rows": 12, "learning_rate": 0.09, "epochs": 3})],
)
def test_a_loss_that_is_not_finite_stops_the_training_without_an_adapter(
    tmp_path: Path, step: str, changes: dict[str, Any]
) -> None:
    """A folder with a final name counts as a trained adapter, and further steps would be wasted. transformers alone would log the
    previous mean."""
    from fine_tune_assets.training.failures import TrainingError

    with pytest.raises(TrainingError, match=rf"step {step}.*learning_rate"):
        _train(tmp_path, **changes)
    assert not (tmp_path / "adapters").exists()


def test_the_validation_loss_does_not_depend_on_the_batch(tmp_path: Path) -> None:
    """It compares trials with different batch sizes. transformers' mean over batches differs here by more than 1e-3."""
    one, three = (
        _train(tmp_path / str(rows), batch_size=rows, packing="never").first_validation_loss for rows in (1, 3)
    )
    assert one == pytest.approx(three, abs=1e-5)


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_the_same_training_gives_the_same_weights(tmp_path: Path, method: str) -> None:
    """An adapter's name is its content, so the same inputs must not give two adapters."""
    first, second = (_train(tmp_path / name, method=method, dropout=0.1, rows=12) for name in ("one", "two"))
    assert first.adapter_id == second.adapter_id
    other = _train(tmp_path / "three", method=method, dropout=0.1, rows=12, seed=2)
    assert other.adapter_id != first.adapter_id


@pytest.mark.parametrize(("method", "is_stabilized"), [("lora", True), ("qlora", False)])
def test_an_adapter_is_trained_and_stored_in_32_bits(tmp_path: Path, method: str, is_stabilized: bool) -> None:
    """In 16 bits, many steps at a small learning rate are lost by rounding. `rank_stabilized` is PEFT's rsLoRA."""
    import torch
    from safetensors.torch import load_file

    folder = _train(tmp_path, method=method, rows=12, packing="never", rank_stabilized=is_stabilized).folder
    assert {tensor.dtype for tensor in load_file(folder / "adapter_model.safetensors").values()} == {torch.float32}
    assert json.loads((folder / "adapter_config.json").read_text())["use_rslora"] is is_stabilized


def test_packed_rows_can_be_trained_in_4_bits(tmp_path: Path) -> None:
    """No other test on a CPU combines the two."""
    result = _train(tmp_path, method="qlora", packing="bfd", rows=12)
    assert result.packing == "bfd"
    assert result.trained_row_count == 12


def test_training_stops_when_the_validation_loss_stops_decreasing(tmp_path: Path) -> None:
    """Early stopping limits memorization; the best checkpoint is stored."""
    result = _train(
        tmp_path, rows=12, epochs=30, learning_rate=0.09, early_stopping_patience=1, evaluations_per_epoch=3
    )
    measured = [point["eval_loss"] for point in result.curve if "eval_loss" in point]
    assert result.stopped_early
    assert result.best_validation_loss == min(measured) < measured[-1]


def test_every_step_reports_loss_rate_speed_memory_and_remaining_time(tmp_path: Path) -> None:
    """People watch a running training."""
    reports: list[tuple[int, int, str]] = []
    result = _train(tmp_path, rows=12, progress=lambda *what: reports.append(what))
    assert [done for done, _, _ in reports] == list(range(1, result.steps + 1))
    assert all(total == result.steps for _, total, _ in reports)
    for part in ("loss", "learning rate", "tokens/s", "left", "GB"):
        assert part in reports[-1][2]


def test_unknown_target_modules_are_named(tmp_path: Path) -> None:
    """Module names differ between model families."""
    from fine_tune_assets.training.failures import TrainingError

    with pytest.raises(TrainingError, match=r"training\.target_modules \(c_attn\)"):
        _train(tmp_path, target_modules=("c_attn",))


def test_the_divergence_from_the_base_model_is_measured(tmp_path: Path) -> None:
    """An adapter with unchanged weights is the base model under another name."""
    import torch

    from fine_tune_assets.engines.transformers_models import load_tokenizer
    from fine_tune_assets.training.lora.adapter_divergence import divergence_from_base
    from fine_tune_assets.training.lora.peft_adapters import load_trainable_model
    from fine_tune_assets.training.supervision.loss_mask import supervise

    result = _train(tmp_path, rows=12, learning_rate=0.05)
    assert result.base_kl_divergence > 1e-3
    base = base_model(tmp_path / "again", 1.0)
    tokenizer = load_tokenizer(base)
    rows = [supervise(tokenizer, r["example_id"], r["messages"]) for r in instruction_set(2).to_pylist()]
    untouched = load_trainable_model(base, SETTINGS)
    assert divergence_from_base(untouched, rows) == 0.0
    with torch.no_grad():
        for name, parameter in untouched.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.5)
    assert divergence_from_base(untouched, rows) > 1e-3
