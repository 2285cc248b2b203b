"""Event files of trainings, read with TensorBoard's reader."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets_tests.training.tiny_training import SETTINGS, base_model, instruction_set

pytestmark = pytest.mark.slow  # TRL takes 13 s to import

WORDS = ("cough", "Summarize", "Be brief", "Visit")
"""Words of the examples and the system prompt."""


def _read(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    # Including the events that TensorBoard drops if a restart wrote the same steps again.
    return EventAccumulator(str(folder), purge_orphaned_data=False).Reload()


def _points(events: Any, tag: str) -> list[tuple[int, float]]:
    return [(e.step, e.value) for e in events.Scalars(tag)] if tag in events.Tags()["scalars"] else []


def _curve(curve: Sequence[dict[str, float]], name: str) -> list[Any]:
    return [(int(p["step"]), pytest.approx(p[name], rel=1e-6)) for p in curve if name in p]


class Killed(BaseException):
    """Simulates a kill: our code must not catch it."""


def _train(tmp_path: Path, progress: Any = ignore_progress) -> Any:
    from fine_tune_assets.training.lora.trainer import train_adapter

    base = base_model(tmp_path / "base", 1.0)
    settings = replace(SETTINGS, epochs=2, evaluations_per_epoch=2)  # checkpoints at steps 3, 6, 9 and 12
    return train_adapter(
        instruction_set(train=12, validation=2),
        base,
        "base-1",
        tmp_path / "adapters",
        tmp_path / "checkpoints",
        settings,
        1,
        progress,
        tensorboard_dir=tmp_path / "tensorboard",
    )


def test_event_files_contain_the_curve_and_parameters_but_no_text(tmp_path: Path) -> None:
    """TensorBoard shows the adapter by its name, and no patient data."""
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    result = _train(tmp_path)
    (folder,) = (tmp_path / "tensorboard").iterdir()
    assert folder.name == result.folder.name
    events = _read(folder)
    assert _points(events, "train/loss") == _curve(result.curve, "loss")
    assert _points(events, "validation/loss") == _curve(result.curve, "eval_loss")
    for tag in ("train/learning_rate", "train/gradient_norm", "memory/peak_gb"):
        assert len(events.Scalars(tag)) == result.steps
    assert len(events.Scalars("speed/tokens_per_second")) == result.steps - 1
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    params = HParamsPluginData.FromString(content).session_start_info.hparams
    assert params["adapter_id"].string_value == result.adapter_id
    assert params["rank"].number_value == SETTINGS.rank
    written = b"".join(path.read_bytes() for path in folder.iterdir())
    assert [word for word in WORDS if word.encode() in written] == []


def test_a_resumed_training_has_every_step_once(tmp_path: Path) -> None:
    """Steps after the last checkpoint are trained twice but shown once; earlier ones must not be lost."""

    def kill_at_eight(done: int, total: int, what: str) -> None:  # noqa: ARG001
        if done == 8:
            raise Killed

    whole = _train(tmp_path / "whole")
    with pytest.raises(Killed):
        _train(tmp_path / "killed", progress=kill_at_eight)
    (in_progress,) = (tmp_path / "killed" / "tensorboard").iterdir()
    while len(_points(_read(in_progress), "train/loss")) < 7:
        time.sleep(0.1)  # events are written by a separate thread, which a real kill would end
    resumed = _train(tmp_path / "killed")
    assert resumed.resumed_from_step == 6
    (first,), (second,) = ((tmp_path / name / "tensorboard").iterdir() for name in ("whole", "killed"))
    assert first.name == second.name == whole.folder.name
    for tag in ("train/loss", "validation/loss", "train/learning_rate", "train/gradient_norm"):
        assert _points(_read(second), tag) == _points(_read(first), tag)
