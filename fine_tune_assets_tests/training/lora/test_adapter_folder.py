"""What lies under an adapter's name is what was trained, and storing it needs no other disk."""

import errno
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.training.failures import TrainingError, explained
from fine_tune_assets_tests.training.tiny import SETTINGS, base_model

pytestmark = pytest.mark.slow  # torch and PEFT


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from fine_tune_assets.training.lora.adapters import adapted_model

    return adapted_model(base_model(tmp_path_factory.mktemp("tiny") / "base", 1.0), SETTINGS)


class _StoresOthers:
    """A PEFT model that writes other weights than it answers with, as a version of a library might."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def save_pretrained(self, folder: Path, **how: Any) -> None:
        from safetensors.torch import load_file, save_file

        self._model.save_pretrained(folder, **how)
        path = folder / "adapter_model.safetensors"
        save_file({name: tensor + 0.001 for name, tensor in load_file(path).items()}, path)


def test_weights_that_were_written_wrongly_are_not_stored(model: Any, tmp_path: Path) -> None:
    """The figure that proves the change was measured in memory: it must be true of the folder that is served."""
    from fine_tune_assets.training.lora.adapters import store_adapter

    with pytest.raises(TrainingError, match="not those that were trained"):
        store_adapter(_StoresOthers(model), tmp_path / "adapters", "base-1")
    assert list((tmp_path / "adapters").iterdir()) == []
    _, folder = store_adapter(model, tmp_path / "adapters", "base-1")
    assert sorted(file.name for file in folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]


def test_an_adapter_is_stored_without_the_systems_folder_for_scratch_files(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full /tmp must not lose a night's training: room was asked for on another disk."""
    from fine_tune_assets.training.lora.adapters import store_adapter

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    fingerprint, folder = store_adapter(model, tmp_path / "adapters", "base-1")
    assert folder.name == fingerprint[: len(folder.name)]


def test_what_a_killed_one_left_goes_with_the_next(model: Any, tmp_path: Path) -> None:
    """It holds what was learned from patients, and nobody would look for it. Other adapters stay."""
    from fine_tune_assets.training.lora.adapters import store_adapter

    adapters = tmp_path / "adapters"
    for name in (".adapter-x1y2", ".0123abcd.0f.tmp", "0123abcd"):
        (adapters / name).mkdir(parents=True)
        (adapters / name / "adapter_model.safetensors").write_bytes(b"half")
    _, folder = store_adapter(model, adapters, "base-1")
    assert {path.name for path in adapters.iterdir()} == {"0123abcd", folder.name}


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    """Checkpoints and adapters may lie on two: whoever makes room on the other one waits for nothing."""
    adapters, checkpoints = tmp_path / "adapters", tmp_path / "checkpoints"
    with pytest.raises(TrainingError, match=rf"free at {adapters}\."), explained(checkpoints, adapters):
        raise OSError(errno.ENOSPC, "No space left on device", str(adapters / "x.safetensors"))
