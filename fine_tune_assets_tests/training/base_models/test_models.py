"""A model is imported complete, checked and hashed, or not at all."""

import json
import pickle
import shutil
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from fine_tune_assets.cli.main import main
from fine_tune_assets.core.errors import ModelFolderError
from fine_tune_assets.core.fingerprints import fingerprint_file
from fine_tune_assets.training.base_models.model_imports import LOCK, import_model
from fine_tune_assets.training.base_models.registration import describe_base_model, read_source
from fine_tune_assets_tests.training.base_models.small_model import CONFIG, write_json, write_small_model

PICKLE = pickle.dumps(print)


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    return write_small_model(tmp_path / "small model")


@pytest.fixture
def base_models(tmp_path: Path) -> Path:
    return tmp_path / "data" / "base_models"


def entries(base_models: Path) -> list[str]:
    return sorted(p.name for p in base_models.iterdir() if p.name != LOCK) if base_models.is_dir() else []


def test_a_folder_is_imported_with_its_facts(model_folder: Path, base_models: Path) -> None:
    """The record has the facts by which people choose a model, and the folder matches its hash."""
    (model_folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    imported = import_model(model_folder, base_models, name="", licence="", source="a USB stick")
    assert imported.folder.name.startswith("small-model-")
    assert imported.skipped_files == ("picture.png",)
    model = imported.model
    assert (model.architecture, model.parameter_count, model.dtype) == ("LlamaForCausalLM", 16, "bfloat16")
    assert (model.context_tokens, model.vocabulary_size, model.has_tied_embeddings) == (128, 4, False)
    assert (model.stop_tokens, model.licence, model.source) == (("<end>",), "Apache-2.0", "a USB stick")
    assert describe_base_model(model.name, imported.folder, "") == model


def test_the_same_model_is_imported_once(model_folder: Path, base_models: Path) -> None:
    """The content determines the folder's name."""
    first = import_model(model_folder, base_models, "m", "", "a USB stick")
    assert import_model(model_folder, base_models, "m", "", "a USB stick").folder == first.folder
    assert len(entries(base_models)) == 1


def test_an_archive_is_unpacked_and_its_hash_is_on_record(
    model_folder: Path, base_models: Path, tmp_path: Path
) -> None:
    """The recorded hash matches the published file."""
    archive = Path(shutil.make_archive(str(tmp_path / "model"), "gztar", model_folder.parent, model_folder.name))
    imported = import_model(archive, base_models, "", "", "")
    assert imported.model.source_fingerprint == fingerprint_file(archive)
    assert imported.model.source == "imported from model.tar.gz"
    assert entries(base_models) == [imported.folder.name]


def test_fields_for_older_readers_are_added(model_folder: Path, base_models: Path) -> None:
    """Otherwise transformers 4 would use another rotary base for a folder written by transformers 5."""
    rope = {"rope_theta": 500000.0, "rope_type": "default"}
    write_json(model_folder / "config.json", {**CONFIG, "rope_parameters": rope})
    write_json(model_folder / "tokenizer_config.json", {"tokenizer_class": "TokenizersBackend"})
    folder = import_model(model_folder, base_models, "m", "", "").folder
    assert json.loads((folder / "config.json").read_text())["rope_theta"] == 500000.0
    assert json.loads((folder / "tokenizer_config.json").read_text())["tokenizer_class"] == "PreTrainedTokenizerFast"


def test_a_foreign_source_record_is_ignored(model_folder: Path, base_models: Path) -> None:
    """Anyone can write a false source into it."""
    write_json(
        model_folder / "source.json", {"source": "the ministry", "source_fingerprint": "0" * 64, "licence": "MIT"}
    )
    folder = import_model(model_folder, base_models, "m", "", "").folder
    assert read_source(folder)["source"] == "imported from small model"
    assert read_source(folder)["licence"] == "Apache-2.0"


def test_other_files_of_a_folder_or_an_archive_are_not_imported(
    model_folder: Path, base_models: Path, tmp_path: Path
) -> None:
    """Code and pickles are listed as skipped, and not copied, so that nothing can load them."""
    others = ("modeling_evil.py", "optimizer.safetensors", "pytorch_model.bin")
    for name in others:
        (model_folder / name).write_bytes(PICKLE)
    archive = Path(shutil.make_archive(str(tmp_path / "model"), "zip", model_folder))
    for path in (model_folder, archive):
        imported = import_model(path, base_models, "m", "", "")
        assert set(imported.skipped_files) == set(others)
        assert not any((imported.folder / name).exists() for name in others)


def test_a_pickle_named_like_weights_aborts_the_import(model_folder: Path, base_models: Path) -> None:
    """The import leaves no files."""
    (model_folder / "model.safetensors").write_bytes(PICKLE)
    with pytest.raises(ModelFolderError, match=r"model\.safetensors"):
        import_model(model_folder, base_models, "m", "", "")
    assert entries(base_models) == []


def test_a_torch_checkpoint_is_refused(base_models: Path, tmp_path: Path) -> None:
    """It is a ZIP archive without any model file."""
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", PICKLE)
    with pytest.raises(ModelFolderError, match=r"\.safetensors"):
        import_model(path, base_models, "m", "MIT", "")
    assert entries(base_models) == []


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        ("config.json", r"config\.json"),
        ("tokenizer.json", r"tokenizer\.json"),
        ("model.safetensors", r"\.safetensors"),
        ("chat_template.jinja", "chat"),
        ("README.md", r"base_model\.licence"),
    ],
)
def test_an_incomplete_model_is_refused(model_folder: Path, base_models: Path, missing: str, named: str) -> None:
    """README.md states the licence. The error names what is missing, and the import leaves no files."""
    (model_folder / missing).unlink()
    with pytest.raises(ModelFolderError, match=named):
        import_model(model_folder, base_models, "m", "", "")
    assert entries(base_models) == []


def test_an_unknown_licence_is_refused(model_folder: Path, base_models: Path) -> None:
    """`unknown` is not a licence."""
    with pytest.raises(ModelFolderError, match="unknown"):
        import_model(model_folder, base_models, "m", "unknown", "")


def test_a_model_that_does_not_fit_on_the_disk_is_refused_first(model_folder: Path, base_models: Path) -> None:
    """A full disk would harm everything else on it."""
    with (model_folder / "model.safetensors").open("r+b") as file:
        size = shutil.disk_usage(model_folder).free + (1 << 30)
        header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + size)  # sparse: takes no disk space
    with pytest.raises(ModelFolderError, match="FINE_TUNE_DATA_DIR"):
        import_model(model_folder, base_models, "m", "", "")
    assert entries(base_models) == []


def test_the_next_import_removes_files_of_a_killed_one(model_folder: Path, base_models: Path) -> None:
    """Otherwise a hundred gigabytes could stay on the disk."""
    leftover = base_models / ".importing-abc"
    leftover.mkdir(parents=True)
    (leftover / "half").write_bytes(b"x")
    import_model(model_folder, base_models, "m", "", "")
    assert not leftover.exists()


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", ".hidden", "a/b"])
def test_a_name_cannot_leave_the_base_models_folder(model_folder: Path, base_models: Path, name: str) -> None:
    """The name becomes a folder name."""
    folder = import_model(model_folder, base_models, name, "", "").folder
    assert folder.parent == base_models
    assert not folder.name.startswith(".")


def test_the_command_prints_the_folder_for_the_recipe(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recipe refers to the folder; `models list` shows it with the capabilities of the engines."""
    monkeypatch.setenv("FINE_TUNE_DATA_DIR", str(tmp_path / "data"))
    done = CliRunner().invoke(main, ["models", "import", str(model_folder), "--name", "small"])
    assert done.exit_code == 0, done.output
    folder = done.output.strip().rpartition("folder: ")[2]
    assert (tmp_path / "data" / folder / "config.json").is_file()
    listed = CliRunner().invoke(main, ["models", "list"])
    assert folder in listed.output
    assert "LlamaForCausalLM" in listed.output
    assert "serve with vLLM" in listed.output


def test_a_failed_command_names_the_invalid_file(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, no traceback."""
    monkeypatch.setenv("FINE_TUNE_DATA_DIR", str(tmp_path / "data"))
    (model_folder / "config.json").write_text("{")
    failed = CliRunner().invoke(main, ["models", "import", str(model_folder)])
    assert failed.exit_code == 1
    assert "config.json" in failed.output
