"""A base model whose template needs a change is used through a folder with links to its weights."""

import json
import os
from pathlib import Path

import pytest

from fine_tune_assets.core.prompts.chat_templates import read_chat_template
from fine_tune_assets.core.prompts.prompt_contract import read_prompt_contract
from fine_tune_assets.core.prompts.served_templates import UnusableTemplateError
from fine_tune_assets.training.base_models.prompt_folders import prepare_prompt_folder, read_served_template
from fine_tune_assets.training.base_models.registration import read_source, write_source
from fine_tune_assets_tests.training.model_families import FAMILIES

FILES = {
    "chat_template.jinja",
    "config.json",
    "model.safetensors",
    "source.json",
    "tokenizer.json",
    "tokenizer_config.json",
}


def _base(folder: Path, family: str) -> Path:
    FAMILIES[family].write(folder)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    write_source(folder, {"source": "the vendor", "licence": "Apache-2.0"}, "content")
    return folder


def test_a_model_that_needs_no_change_is_used_in_place(tmp_path: Path) -> None:
    """It keeps the fingerprint of the published model."""
    base = _base(tmp_path / "base", "qwen2_5")
    assert prepare_prompt_folder(base, tmp_path / "models", {}) == base
    assert not (tmp_path / "models").exists()


def test_the_weights_are_linked_and_the_template_is_built(tmp_path: Path) -> None:
    """A 140 GB model is not copied; its own folder is not changed."""
    base = _base(tmp_path / "base", "qwen3")
    before = {path.name: path.read_bytes() for path in base.iterdir()}
    made = prepare_prompt_folder(base, tmp_path / "models", {"enable_thinking": False})
    assert {path.name for path in made.iterdir()} - {"generation_config.json"} == FILES
    assert os.path.samefile(made / "model.safetensors", base / "model.safetensors")
    assert not os.path.samefile(made / "tokenizer.json", base / "tokenizer.json")
    assert read_chat_template(made) == read_served_template(base, {"enable_thinking": False})
    assert read_prompt_contract(made, "Be brief.").chat_template == read_chat_template(made)
    source = read_source(made)
    assert (source["licence"], json.loads(source["template_kwargs"])) == ("Apache-2.0", {"enable_thinking": False})
    assert {path.name: path.read_bytes() for path in base.iterdir()} == before


def test_the_same_model_and_variables_give_the_same_folder(tmp_path: Path) -> None:
    """Its fingerprint is in every adapter; other variables give another one."""
    base = _base(tmp_path / "base", "qwen3")
    made = prepare_prompt_folder(base, tmp_path / "models", {})
    assert prepare_prompt_folder(base, tmp_path / "models", {}) == made
    assert prepare_prompt_folder(base, tmp_path / "models", {"enable_thinking": True}) != made


def test_the_gguf_converter_finds_the_built_template(tmp_path: Path) -> None:
    """Llama 3.1 and Qwen3 have theirs in tokenizer_config.json, which the converter prefers to the file."""
    from gguf import SpecialVocab

    base = _base(tmp_path / "base", "llama3_1")
    template = (base / "chat_template.jinja").read_text()
    (base / "chat_template.jinja").unlink()
    config = json.loads((base / "tokenizer_config.json").read_text())
    (base / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": template}))
    made = prepare_prompt_folder(base, tmp_path / "models", {})
    assert SpecialVocab(base).chat_template == template
    assert SpecialVocab(made).chat_template == read_chat_template(made) != template


def test_weights_on_another_disk_are_linked_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hard links end at the disk, and need write access to another user's file."""

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    base = _base(tmp_path / "base", "gemma")
    made = prepare_prompt_folder(base, tmp_path / "models", {})
    assert (made / "model.safetensors").is_symlink()
    assert (made / "model.safetensors").read_bytes() == b"weights"


def test_a_model_that_reasons_in_every_prompt_is_refused(tmp_path: Path) -> None:
    """Before anything is written."""
    base = _base(tmp_path / "base", "deepseek_r1_distill")
    with pytest.raises(UnusableTemplateError, match="base: "):
        prepare_prompt_folder(base, tmp_path / "models", {})
    assert not (tmp_path / "models").exists()
