"""A checkpoint counts only if it is complete and belongs to the same training."""

from pathlib import Path

import pytest

from fine_tune_assets.training.checkpoints import CheckpointStore


def _write(checkpoints: CheckpointStore, step: int, text: str = "weights") -> Path:
    folder = checkpoints.step_folder(step)
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_text(f"{text} {step}")
    (folder / "optimizer.pt").write_text("state")
    return folder


def test_the_newest_complete_checkpoint_is_resumed_with_its_duration(tmp_path: Path) -> None:
    """A crash during a save leaves an incomplete one: the previous one counts."""
    checkpoints = CheckpointStore(tmp_path, "t1")
    _write(checkpoints, 90)
    checkpoints.mark_complete(90, None, 12.5)
    half = _write(checkpoints, 100)
    found = CheckpointStore(tmp_path, "t1").latest()
    assert found is not None
    assert (found.step, found.seconds) == (90, 12.5)
    assert not half.exists()


@pytest.mark.parametrize("damage", ["change", "add", "remove", "marker"])
def test_a_damaged_checkpoint_is_not_resumed(tmp_path: Path, damage: str) -> None:
    """A power failure may leave files of the right size with wrong content."""
    checkpoints = CheckpointStore(tmp_path, "t1")
    folder = _write(checkpoints, 5)
    checkpoints.mark_complete(5, None, 1.0)
    if damage == "change":
        (folder / "optimizer.pt").write_text("other")
    elif damage == "add":
        (folder / "more").write_text("")
    elif damage == "remove":
        (folder / "optimizer.pt").unlink()
    else:
        (folder / "complete.json").write_text("{")
    assert checkpoints.latest() is None


def test_the_best_checkpoint_is_kept_with_the_last(tmp_path: Path) -> None:
    """It becomes the adapter."""
    checkpoints = CheckpointStore(tmp_path, "t1")
    for step, best in ((1, 1), (2, 2), (3, 2), (4, 2)):
        _write(checkpoints, step)
        checkpoints.mark_complete(step, best, 1.0)
    assert sorted(folder.name for folder in checkpoints.folder.iterdir()) == ["checkpoint-2", "checkpoint-4"]


def test_checkpoints_of_another_training_are_removed(tmp_path: Path) -> None:
    """They contain weights trained on patients' reports and would stay on the disk."""
    other = CheckpointStore(tmp_path, "t1")
    _write(other, 5)
    other.mark_complete(5, None, 1.0)
    assert CheckpointStore(tmp_path, "t2").latest() is None
    assert not other.folder.exists()


def test_the_loss_before_the_first_step_is_measured_once(tmp_path: Path) -> None:
    """After a crash, the model has already changed."""
    CheckpointStore(tmp_path, "t1").save_start_metrics({"first_validation_loss": 3.2})
    assert CheckpointStore(tmp_path, "t1").start_metrics == {"first_validation_loss": 3.2}
