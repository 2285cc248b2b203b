"""Facts of a model without its weights: read from its folder, or published for the models of the shipped recipes."""

import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fine_tune_assets.core.errors import ModelFolderError
from fine_tune_assets.core.paths import PACKAGE_DIR
from fine_tune_assets.training.base_models.model_files import Tensor, read_tensors, weight_files

_DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64"}
_OUTPUT_LAYERS = ("lm_head.weight", "embed_out.weight")
_CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")


@dataclass(frozen=True)
class ModelFacts:
    architecture: str
    parameters: int
    dtype: str
    """Number format of most weights."""
    context_tokens: int | None
    """None if the folder does not state it."""
    vocabulary_size: int | None
    has_tied_embeddings: bool
    stop_tokens: tuple[str, ...]
    quantization: str
    """The method by which the weights are already quantized; empty for plain weights."""


def read_model_facts(folder: Path) -> ModelFacts:
    """The facts of a folder that was checked. Raises ModelFolderError if a file is not a JSON object."""
    config = read_json(folder / "config.json")
    inner = config.get("text_config")
    text: dict[str, Any] = inner if isinstance(inner, dict) else config
    tensors = {name: tensor for path in weight_files(folder) for name, tensor in read_tensors(path).items()}
    architectures, packed = config.get("architectures"), config.get("quantization_config")
    return ModelFacts(
        architecture=str(architectures[0]) if isinstance(architectures, list) and architectures else "unknown",
        parameters=sum(tensor.element_count for tensor in tensors.values()),
        dtype=_dtype(tensors),
        context_tokens=next((int(text[name]) for name in _CONTEXT_KEYS if _is_count(text.get(name))), None),
        vocabulary_size=int(text["vocab_size"]) if _is_count(text.get("vocab_size")) else None,
        has_tied_embeddings=_has_tied_embeddings(config, text, tensors),
        stop_tokens=_stop_tokens(folder, config),
        quantization=str(packed.get("quant_method", "unknown")) if isinstance(packed, dict) else "",
    )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises ModelFolderError."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise ModelFolderError(f"{path.parent.name}: {path.name} is not valid JSON.") from None
    if not isinstance(value, dict):
        raise ModelFolderError(f"{path.parent.name}: {path.name} is not a JSON object.")
    return value


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


def _dtype(tensors: dict[str, Tensor]) -> str:
    numbers: Counter[str] = Counter()
    for tensor in tensors.values():
        numbers[tensor.dtype] += tensor.element_count
    most = numbers.most_common(1)
    return _DTYPES.get(most[0][0], most[0][0].lower()) if most else "none"


def _has_tied_embeddings(config: dict[str, Any], text: dict[str, Any], tensors: dict[str, Tensor]) -> bool:
    stated = config.get("tie_word_embeddings", text.get("tie_word_embeddings"))
    # The default depends on the model class, so check the weights: tied embeddings are stored once.
    return stated if isinstance(stated, bool) else not any(name.endswith(_OUTPUT_LAYERS) for name in tensors)


def _stop_tokens(folder: Path, config: dict[str, Any]) -> tuple[str, ...]:
    """Text of the end tokens in generation_config.json, or else in config.json."""
    generation = folder / "generation_config.json"
    ends = (read_json(generation) if generation.is_file() else {}).get("eos_token_id", config.get("eos_token_id"))
    ids = [i for i in (ends if isinstance(ends, list) else [ends]) if type(i) is int]
    added = read_json(folder / "tokenizer.json").get("added_tokens") or []
    names = {token["id"]: str(token["content"]) for token in added if isinstance(token, dict) and "id" in token}
    return tuple(names.get(i, str(i)) for i in ids)


_SHAPES_FILE = PACKAGE_DIR / "training" / "published_shapes.json"


@dataclass(frozen=True)
class PublishedShape:
    model: str
    source: str
    config: dict[str, Any]
    """The keys of config.json that determine the memory of a training step."""


def published_shapes() -> dict[str, PublishedShape]:
    """Name of the base model, as in recipes → its shape."""
    read = json.loads(_SHAPES_FILE.read_text(encoding="utf-8"))
    return {name: PublishedShape(name, known["source"], known["config"]) for name, known in read.items()}


@contextmanager
def shape_folder(shape: PublishedShape) -> Iterator[Path]:
    """A temporary folder with the shape's config.json."""
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "config.json").write_text(json.dumps(shape.config), encoding="utf-8")
        yield Path(scratch)
