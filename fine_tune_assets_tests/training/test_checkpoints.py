"""A checkpoint counts when it is whole; one of another training never does."""

from pathlib import Path

import pytest

from fine_tune_assets.training.checkpoints import Checkpoints


def _write(checkpoints: Checkpoints, step: int, text: str = "weights") -> Path:
    folder = checkpoints.of_step(step)
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_text(f"{text} {step}")
    (folder / "optimizer.pt").write_text("state")
    return folder


def test_the_newest_whole_one_is_gone_on_from_with_its_time(tmp_path: Path) -> None:
    """A crash while one is written leaves it half: the one before counts."""
    checkpoints = Checkpoints(tmp_path, "t1")
    _write(checkpoints, 90)
    checkpoints.complete(90, None, 12.5)
    half = _write(checkpoints, 100)
    found = Checkpoints(tmp_path, "t1").latest()
    assert found is not None
    assert (found.step, found.seconds) == (90, 12.5)
    assert not half.exists()


@pytest.mark.parametrize("damage", ["change", "add", "remove", "marker"])
def test_a_damaged_one_is_not_gone_on_from(tmp_path: Path, damage: str) -> None:
    """A power cut may leave files of the right size and the wrong content."""
    checkpoints = Checkpoints(tmp_path, "t1")
    folder = _write(checkpoints, 5)
    checkpoints.complete(5, None, 1.0)
    if damage == "change":
        (folder / "optimizer.pt").write_text("other")
    elif damage == "add":
        (folder / "more").write_text("")
    elif damage == "remove":
        (folder / "optimizer.pt").unlink()
    else:
        (folder / "complete.json").write_text("{")
    assert checkpoints.latest() is None


def test_the_best_one_stays_beside_the_last(tmp_path: Path) -> None:
    """It becomes the adapter."""
    checkpoints = Checkpoints(tmp_path, "t1")
    for step, best in ((1, 1), (2, 2), (3, 2), (4, 2)):
        _write(checkpoints, step)
        checkpoints.complete(step, best, 1.0)
    assert sorted(folder.name for folder in checkpoints.folder.iterdir()) == ["checkpoint-2", "checkpoint-4"]


def test_what_another_training_left_goes(tmp_path: Path) -> None:
    """It would lie there for ever, and holds what was learned from patients."""
    other = Checkpoints(tmp_path, "t1")
    _write(other, 5)
    other.complete(5, None, 1.0)
    assert Checkpoints(tmp_path, "t2").latest() is None
    assert not other.folder.exists()


def test_the_loss_before_the_first_step_is_measured_once(tmp_path: Path) -> None:
    """After a crash the model is no longer the one of before."""
    Checkpoints(tmp_path, "t1").keep_start({"first_validation_loss": 3.2})
    assert Checkpoints(tmp_path, "t1").start == {"first_validation_loss": 3.2}
