"""Gives a base model the chat template that the recipe's prompt needs, in a folder of its own.

Most models need none. Otherwise the folder holds links to the model's files and the built template
(`core/prompts/served_templates.py`), so that training, judging, merging and serving read the same one.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from fine_tune_assets.core.files import atomic_folder
from fine_tune_assets.core.fingerprints import fingerprint_json, fingerprint_listing, fingerprint_text, short
from fine_tune_assets.core.prompts.chat_templates import CHAT_TEMPLATE_FILE, read_chat_template
from fine_tune_assets.core.prompts.served_templates import TemplateValue, build_served_template
from fine_tune_assets.core.prompts.tokenizers import TOKENIZER_CONFIG, read_special_tokens
from fine_tune_assets.training.base_models.model_facts import read_json
from fine_tune_assets.training.base_models.model_files import SOURCE_FILE, model_files
from fine_tune_assets.training.base_models.registration import read_source

_REPLACED = (CHAT_TEMPLATE_FILE, "chat_template.json", TOKENIZER_CONFIG, SOURCE_FILE)


def read_served_template(folder: Path, settings: Mapping[str, TemplateValue]) -> str:
    """The template for training, judging and serving. Raises UnusableTemplateError, ModelFolderError."""
    return build_served_template(folder.name, read_chat_template(folder), read_special_tokens(folder), settings)


def prepare_prompt_folder(folder: Path, prepared_root: Path, settings: Mapping[str, TemplateValue]) -> Path:
    """`folder` if its template needs no change, otherwise a folder below `prepared_root` with the changed template.

    Raises UnusableTemplateError, ModelFolderError.
    """
    template = read_served_template(folder, settings)
    if template == read_chat_template(folder):
        return folder
    names = [name for name in model_files(folder)[0] if name not in _REPLACED]
    identity = [str(folder.resolve()), fingerprint_listing(folder), fingerprint_text(template)]
    prepared = prepared_root / f"{folder.name}-{short(fingerprint_json(identity))}"
    if prepared.is_dir():
        return prepared
    with atomic_folder(prepared) as temporary:
        for name in names:
            _add_file(folder / name, temporary / name)
        (temporary / CHAT_TEMPLATE_FILE).write_text(template, encoding="utf-8")
        # The GGUF converter would prefer a template in this file.
        config = {key: value for key, value in read_json(folder / TOKENIZER_CONFIG).items() if key != "chat_template"}
        (temporary / TOKENIZER_CONFIG).write_text(json.dumps(config, indent=2, ensure_ascii=False), encoding="utf-8")
        _write_source(read_source(folder), folder.name, settings, temporary)
    return prepared


def _add_file(path: Path, target: Path) -> None:
    """Weights are linked; other files are copied, because they are small."""
    if path.suffix != ".safetensors":
        shutil.copyfile(path, target)
        return
    try:
        os.link(path.resolve(), target)
    except OSError:  # another disk, or a file of another user
        target.symlink_to(path.resolve())


def _write_source(source: Mapping[str, str], name: str, settings: Mapping[str, TemplateValue], folder: Path) -> None:
    described = {
        "source": f"{source.get('source', f'local folder {name}')}, with another chat template",
        "source_fingerprint": source.get("source_fingerprint", ""),
        "licence": source.get("licence", ""),
        "template_kwargs": json.dumps(dict(settings), sort_keys=True),
    }
    (folder / SOURCE_FILE).write_text(json.dumps(described, indent=2), encoding="utf-8")
