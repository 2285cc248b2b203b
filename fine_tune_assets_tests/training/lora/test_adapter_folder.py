"""A stored adapter has the trained weights, and storing it needs only the target disk."""

import errno
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.training.failures import TrainingError, explain_errors
from fine_tune_assets_tests.training.tiny_training import SETTINGS, base_model

pytestmark = pytest.mark.slow  # torch and PEFT


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from fine_tune_assets.training.lora.peft_adapters import load_trainable_model

    return load_trainable_model(base_model(tmp_path_factory.mktemp("tiny") / "base", 1.0), SETTINGS)


class _SavesOtherWeights:
    """A PEFT model that saves other weights than it has in memory, as after a bug in a library."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def save_pretrained(self, folder: Path, **options: Any) -> None:
        from safetensors.torch import load_file, save_file

        self._model.save_pretrained(folder, **options)
        path = folder / "adapter_model.safetensors"
        save_file({name: tensor + 0.001 for name, tensor in load_file(path).items()}, path)


def test_wrongly_saved_weights_are_not_stored(model: Any, tmp_path: Path) -> None:
    """The divergence was measured in memory and must also apply to the served folder."""
    from fine_tune_assets.training.lora.peft_adapters import store_adapter

    with pytest.raises(TrainingError):
        store_adapter(_SavesOtherWeights(model), tmp_path / "adapters", "base-1")
    assert list((tmp_path / "adapters").iterdir()) == []
    _, folder = store_adapter(model, tmp_path / "adapters", "base-1")
    assert sorted(file.name for file in folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]


def test_storing_an_adapter_does_not_use_the_system_temporary_folder(
    model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full /tmp must not lose a night's training: free space was checked on another disk."""
    from fine_tune_assets.training.lora.peft_adapters import store_adapter

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    fingerprint, folder = store_adapter(model, tmp_path / "adapters", "base-1")
    assert folder.name == fingerprint[: len(folder.name)]


def test_temporary_folders_of_killed_trainings_are_removed(model: Any, tmp_path: Path) -> None:
    """They contain weights trained on patients' reports. Other adapters stay."""
    from fine_tune_assets.training.lora.peft_adapters import store_adapter

    adapters = tmp_path / "adapters"
    for name in (".adapter-x1y2", ".0123abcd.0f.tmp", "0123abcd"):
        (adapters / name).mkdir(parents=True)
        (adapters / name / "adapter_model.safetensors").write_bytes(b"half")
    _, folder = store_adapter(model, adapters, "base-1")
    assert {path.name for path in adapters.iterdir()} == {"0123abcd", folder.name}


def test_a_full_disk_is_reported_with_its_folder(tmp_path: Path) -> None:
    """Checkpoints and adapters may be on different disks."""
    adapters, checkpoints = tmp_path / "adapters", tmp_path / "checkpoints"
    with pytest.raises(TrainingError, match=rf"{adapters}\."), explain_errors(checkpoints, adapters):
        raise OSError(errno.ENOSPC, "No space left on device", str(adapters / "x.safetensors"))
