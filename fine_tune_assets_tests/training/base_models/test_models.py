"""A model comes in whole, checked and hashed, or not at all."""

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
from fine_tune_assets.training.base_models.imports import LOCK, import_model
from fine_tune_assets.training.base_models.registry import describe_base_model, read_source
from fine_tune_assets_tests.training.base_models.small_model import CONFIG, write_json, write_small_model

PICKLE = pickle.dumps(print)


@pytest.fixture
def brought(tmp_path: Path) -> Path:
    return write_small_model(tmp_path / "small model")


@pytest.fixture
def base_models(tmp_path: Path) -> Path:
    return tmp_path / "data" / "base_models"


def entries(base_models: Path) -> list[str]:
    return sorted(p.name for p in base_models.iterdir() if p.name != LOCK) if base_models.is_dir() else []


def test_a_folder_is_copied_with_its_facts(brought: Path, base_models: Path) -> None:
    """What people choose a model by is on record, and the folder is what was hashed."""
    (brought / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    imported = import_model(brought, base_models, name="", licence="", source="a stick")
    assert imported.folder.name.startswith("small-model-")
    assert imported.left_out == ("picture.png",)
    model = imported.model
    assert (model.architecture, model.parameters, model.dtype) == ("LlamaForCausalLM", 16, "bfloat16")
    assert (model.context_tokens, model.vocabulary, model.has_tied_embeddings) == (128, 4, False)
    assert (model.stop_tokens, model.licence, model.source) == (("<end>",), "Apache-2.0", "a stick")
    assert describe_base_model(model.name, imported.folder, "") == model


def test_the_same_model_comes_in_once(brought: Path, base_models: Path) -> None:
    """Its folder is named by its content."""
    first = import_model(brought, base_models, "m", "", "a stick")
    assert import_model(brought, base_models, "m", "", "a stick").folder == first.folder
    assert len(entries(base_models)) == 1


def test_an_archive_is_unpacked_and_its_hash_is_on_record(brought: Path, base_models: Path, tmp_path: Path) -> None:
    """The hash is that of what somebody else published."""
    archive = Path(shutil.make_archive(str(tmp_path / "model"), "gztar", brought.parent, brought.name))
    imported = import_model(archive, base_models, "", "", "")
    assert imported.model.source_fingerprint == fingerprint_file(archive)
    assert imported.model.source == "imported from model.tar.gz"
    assert entries(base_models) == [imported.folder.name]


def test_what_older_readers_look_for_is_added(brought: Path, base_models: Path) -> None:
    """A folder that transformers 5 wrote would be computed with another rotary base by transformers 4."""
    rope = {"rope_theta": 500000.0, "rope_type": "default"}
    write_json(brought / "config.json", {**CONFIG, "rope_parameters": rope})
    write_json(brought / "tokenizer_config.json", {"tokenizer_class": "TokenizersBackend"})
    folder = import_model(brought, base_models, "m", "", "").folder
    assert json.loads((folder / "config.json").read_text())["rope_theta"] == 500000.0
    assert json.loads((folder / "tokenizer_config.json").read_text())["tokenizer_class"] == "PreTrainedTokenizerFast"


def test_a_stranger_s_record_of_origin_is_not_taken_over(brought: Path, base_models: Path) -> None:
    """Anybody can write that a model comes from elsewhere."""
    write_json(brought / "source.json", {"source": "the ministry", "source_fingerprint": "0" * 64, "licence": "MIT"})
    folder = import_model(brought, base_models, "m", "", "").folder
    assert read_source(folder)["source"] == "imported from small model"
    assert read_source(folder)["licence"] == "Apache-2.0"


def test_nothing_else_comes_in_from_a_folder_or_an_archive(brought: Path, base_models: Path, tmp_path: Path) -> None:
    """Code and pickles beside the model are named, and are not copied: nothing can load them."""
    others = ("modeling_evil.py", "optimizer.safetensors", "pytorch_model.bin")
    for name in others:
        (brought / name).write_bytes(PICKLE)
    archive = Path(shutil.make_archive(str(tmp_path / "model"), "zip", brought))
    for path in (brought, archive):
        imported = import_model(path, base_models, "m", "", "")
        assert set(imported.left_out) == set(others)
        assert not any((imported.folder / name).exists() for name in others)


def test_a_pickle_under_the_name_of_weights_stops_the_import(brought: Path, base_models: Path) -> None:
    """Nothing is left behind."""
    (brought / "model.safetensors").write_bytes(PICKLE)
    with pytest.raises(ModelFolderError, match=r"model\.safetensors \(no sound Safetensors file\)"):
        import_model(brought, base_models, "m", "", "")
    assert entries(base_models) == []


def test_a_file_of_torch_alone_is_refused(base_models: Path, tmp_path: Path) -> None:
    """It is a ZIP archive, and nothing in it belongs to a model."""
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", PICKLE)
    with pytest.raises(ModelFolderError, match=r"has no \.safetensors weights"):
        import_model(path, base_models, "m", "MIT", "")
    assert entries(base_models) == []


@pytest.mark.parametrize(
    "missing", ["config.json", "tokenizer.json", "model.safetensors", "chat_template.jinja", "README.md"]
)
def test_a_model_that_lacks_something_is_refused(brought: Path, base_models: Path, missing: str) -> None:
    """README.md states the licence. The error names what is missing, and nothing is left behind."""
    (brought / missing).unlink()
    with pytest.raises(ModelFolderError, match=r"has no|under which licence"):
        import_model(brought, base_models, "m", "", "")
    assert entries(base_models) == []


def test_no_licence_is_made_up(brought: Path, base_models: Path) -> None:
    """`unknown` is no licence."""
    with pytest.raises(ModelFolderError, match="names no licence"):
        import_model(brought, base_models, "m", "unknown", "")


def test_a_model_that_does_not_fit_on_the_disk_is_refused_before(brought: Path, base_models: Path) -> None:
    """A full disk harms everything else on it."""
    with (brought / "model.safetensors").open("r+b") as file:
        size = shutil.disk_usage(brought).free + (1 << 30)
        header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + size)  # sparse: takes no space itself
    with pytest.raises(ModelFolderError, match="GB are free"):
        import_model(brought, base_models, "m", "", "")
    assert entries(base_models) == []


def test_what_a_killed_import_left_is_removed_by_the_next(brought: Path, base_models: Path) -> None:
    """Half a model of a hundred gigabytes would lie there for ever."""
    left = base_models / ".importing-abc"
    left.mkdir(parents=True)
    (left / "half").write_bytes(b"x")
    import_model(brought, base_models, "m", "", "")
    assert not left.exists()


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", ".hidden", "a/b"])
def test_a_name_stays_in_its_folder(brought: Path, base_models: Path, name: str) -> None:
    """A name becomes the name of a folder."""
    folder = import_model(brought, base_models, name, "", "").folder
    assert folder.parent == base_models
    assert not folder.name.startswith(".")


def test_the_command_says_what_to_write_in_a_recipe(
    brought: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is used by naming it; `models` lists it with what the engines can do."""
    monkeypatch.setenv("FINE_TUNE_DATA_DIR", str(tmp_path / "data"))
    done = CliRunner().invoke(main, ["import-model", str(brought), "--name", "small"])
    assert done.exit_code == 0, done.output
    folder = done.output.strip().rpartition("folder: ")[2]
    assert (tmp_path / "data" / folder / "config.json").is_file()
    listed = CliRunner().invoke(main, ["models"])
    assert folder in listed.output
    assert "LlamaForCausalLM" in listed.output
    assert "serve with vLLM" in listed.output


def test_the_command_ends_with_an_error_that_names_the_file(
    brought: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line, no traceback."""
    monkeypatch.setenv("FINE_TUNE_DATA_DIR", str(tmp_path / "data"))
    (brought / "config.json").write_text("{")
    failed = CliRunner().invoke(main, ["import-model", str(brought)])
    assert failed.exit_code == 1
    assert "config.json (no JSON)" in failed.output
