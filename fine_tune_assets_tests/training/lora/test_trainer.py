"""A training that goes wrong leaves no adapter behind, and one that is done says what it did."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.progress import silent
from fine_tune_assets_tests.training.tiny import SETTINGS, base_model, instruction_set

pytestmark = pytest.mark.slow  # TRL takes 13 s to import


def _train(tmp_path: Path, norm: float = 1.0, rows: int = 4, progress: Any = silent, **changed: Any) -> Any:
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


def test_an_adapter_is_stored_under_its_fingerprint_and_its_checkpoints_go(tmp_path: Path) -> None:
    """The ordinary case, without which the next test would say nothing."""
    result = _train(tmp_path)
    assert list((tmp_path / "adapters").iterdir()) == [result.folder]
    assert list((tmp_path / "checkpoints").iterdir()) == []


@pytest.mark.parametrize(
    ("step", "changes"),
    [("0", {"norm": float("nan")}), ("[1-9]", {"norm": 1e30, "rows": 12, "learning_rate": 0.09, "epochs": 3})],
)
def test_a_loss_that_is_no_number_ends_the_training_at_that_step_and_leaves_no_adapter(
    tmp_path: Path, step: str, changes: dict[str, Any]
) -> None:
    """What lies under a final name is taken for a trained adapter, and a night of steps on weights that are lost helps nobody;
    transformers would show the mean of before."""
    from fine_tune_assets.training.failures import TrainingError

    with pytest.raises(TrainingError, match=rf"not a number at step {step}.*learning_rate"):
        _train(tmp_path, **changes)
    assert not (tmp_path / "adapters").exists()


def test_the_validation_loss_does_not_depend_on_the_batch(tmp_path: Path) -> None:
    """Trials with other batch sizes are compared by it. transformers' own mean over batches differs here by more than 1e-3."""
    one, three = (
        _train(tmp_path / str(rows), batch_size=rows, packing="never").first_validation_loss for rows in (1, 3)
    )
    assert one == pytest.approx(three, abs=1e-5)


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_the_same_training_gives_the_same_weights(tmp_path: Path, method: str) -> None:
    """An adapter's name is its content: the same inputs must not give two."""
    first, second = (_train(tmp_path / name, method=method, dropout=0.1, rows=12) for name in ("one", "two"))
    assert first.adapter_id == second.adapter_id
    other = _train(tmp_path / "three", method=method, dropout=0.1, rows=12, seed=2)
    assert other.adapter_id != first.adapter_id


def test_packed_rows_are_learned_in_4_bits_too(tmp_path: Path) -> None:
    """On a CPU nothing else runs the two together."""
    result = _train(tmp_path, method="qlora", packing="bfd", rows=12)
    assert result.packing == "bfd"
    assert result.rows_trained == 12


def test_training_ends_when_the_validation_loss_falls_no_more(tmp_path: Path) -> None:
    """Early stopping guards against learning by heart; the best checkpoint is what is stored."""
    result = _train(
        tmp_path, rows=12, epochs=30, learning_rate=0.09, early_stopping_patience=1, evaluations_per_epoch=3
    )
    measured = [point["eval_loss"] for point in result.curve if "eval_loss" in point]
    assert result.stopped_early
    assert result.best_validation_loss == min(measured) < measured[-1]


def test_every_step_is_told_with_loss_rate_speed_memory_and_time_left(tmp_path: Path) -> None:
    """Somebody looks at it while it goes on."""
    said: list[tuple[int, int, str]] = []
    result = _train(tmp_path, rows=12, progress=lambda *what: said.append(what))
    assert [done for done, _, _ in said] == list(range(1, result.steps + 1))
    assert all(total == result.steps for _, total, _ in said)
    for part in ("loss", "learning rate", "tokens/s", "left", "GB"):
        assert part in said[-1][2]


def test_modules_that_the_model_lacks_are_named(tmp_path: Path) -> None:
    """Names differ between families."""
    from fine_tune_assets.training.failures import TrainingError

    with pytest.raises(TrainingError, match=r"none of training\.target_modules: c_attn"):
        _train(tmp_path, target_modules=("c_attn",))


def test_what_a_training_changed_is_measured_against_the_base_model(tmp_path: Path) -> None:
    """An adapter whose weights never moved is the base model under another name."""
    import torch

    from fine_tune_assets.engines.transformers_models import load_tokenizer
    from fine_tune_assets.training.lora.adapters import adapted_model
    from fine_tune_assets.training.lora.change_probe import divergence_from_base
    from fine_tune_assets.training.supervision.loss_mask import supervise

    result = _train(tmp_path, rows=12, learning_rate=0.05)
    assert result.base_divergence > 1e-3
    base = base_model(tmp_path / "again", 1.0)
    tokenizer = load_tokenizer(base)
    rows = [supervise(tokenizer, r["example_id"], r["messages"]) for r in instruction_set(2).to_pylist()]
    untouched = adapted_model(base, SETTINGS)
    assert divergence_from_base(untouched, rows) == 0.0
    with torch.no_grad():
        for name, parameter in untouched.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.5)
    assert divergence_from_base(untouched, rows) > 1e-3
