"""Which files of a folder make a model, and whether each is what its name says.

Owns the list of names. What is not on it is neither copied nor loaded; what is on it is read by parsers that run no code.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import prod
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from fine_tune_assets.core.errors import ModelFolderError

INDEX = "model.safetensors.index.json"
WHOLE = "model.safetensors"
SOURCE_FILE = "source.json"
JSON_FILES = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "chat_template.json", "preprocessor_config.json", "processor_config.json", INDEX,
)  # fmt: skip
_WORDS = ("tokenizer.json", "vocab.json", "added_tokens.json", INDEX)
"""JSON whose keys are tokens or tensors: any word may be among them."""
_TEXTS = (
    "merges.txt", "vocab.txt", "chat_template.jinja", "LICENSE*", "LICENCE*", "COPYING*", "NOTICE*", "USE_POLICY*", "README.md",
)  # fmt: skip
_VOCABULARY = "tokenizer.model"
_SENTENCEPIECE = b"\n"
"""A SentencePiece model begins with the tag of its first piece. Some models have a list of another kind under this name."""
_LFS_POINTER = b"version https://git-lfs"
_CODE_KEYS = {"auto_map", "custom_pipelines", "custom_generate", "trust_remote_code"}
LARGEST_JSON = 256 << 20
LARGEST_TEXT = 64 << 20


@dataclass(frozen=True)
class Tensor:
    dtype: str
    shape: tuple[int, ...]

    @property
    def numbers(self) -> int:
        return prod(self.shape)


def is_listed(name: str) -> bool:
    """Whether a model may have a file of this name. Weights: every name that a list of weights can hold."""
    return name in JSON_FILES or name == _VOCABULARY or name.endswith(".safetensors") or _is_text(name)


def model_files(folder: Path) -> tuple[list[str], list[str]]:
    """Names at the top of `folder` that make the model, and those that don't, folders among them."""
    weights = _weight_names(folder)
    kept: list[str] = []
    others: list[str] = []
    for path in sorted(folder.iterdir()):
        is_kept = path.is_file() and _is_of_model(path, weights)
        (kept if is_kept else others).append(path.name)
    return kept, others


def _is_of_model(path: Path, weights: set[str]) -> bool:
    if path.suffix == ".safetensors":
        return path.name in weights
    if path.name == _VOCABULARY:
        with path.open("rb") as file:
            return file.read(len(_SENTENCEPIECE)) == _SENTENCEPIECE
    return is_listed(path.name)


def _is_text(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in _TEXTS)


def require_sound(folder: Path, names: Iterable[str]) -> None:
    """Raise ModelFolderError with the files that are not what their names say, and why."""
    found = [f"{shown(name)} ({why})" for name in names if (why := _problem(folder / name, folder))]
    if found:
        more = f", and {len(found) - 5} more" if len(found) > 5 else ""
        raise ModelFolderError(f"{shown(folder.name)} is refused for: {', '.join(found[:5])}{more}. Bring it again.")


def shown(name: str) -> str:
    """A file's name that can't write over a terminal."""
    return "".join(c if c.isprintable() else "?" for c in name)[:120]


def weight_files(folder: Path) -> list[Path]:
    """The Safetensors files that hold the model: those of the index, or the only one."""
    return [folder / name for name in sorted(_weight_names(folder))]


def _weight_names(folder: Path) -> set[str]:
    index = folder / INDEX
    if index.is_file() and index.stat().st_size <= LARGEST_JSON:
        try:
            return {str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
            return set()  # the index itself is refused
    names = {path.name for path in folder.glob("*.safetensors")}
    return {WHOLE} if WHOLE in names else names


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor by its name; no numbers are read. Raises SafetensorError if a byte of the file is not accounted for."""
    with safe_open(path, framework="np") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
        return {name: Tensor(part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}


def _problem(path: Path, folder: Path) -> str | None:
    if path.is_symlink() and not _stays(path, folder):
        return "a link to somewhere else"
    if path.suffix == ".safetensors":
        return _not_safetensors(path)
    if path.suffix == ".json":
        return _not_json(path, has_words=path.name in _WORDS)
    return None if path.name == _VOCABULARY else _not_text(path)


def _stays(path: Path, folder: Path) -> bool:
    """Whether a link leads to a file of the same model: in the folder, or in the blobs of a Hugging Face cache."""
    target, home = path.resolve(), folder.resolve()
    blobs = home.parent.parent / "blobs" if home.parent.name == "snapshots" else home
    return target.is_relative_to(home) or target.is_relative_to(blobs)


def _not_safetensors(path: Path) -> str | None:
    with path.open("rb") as file:
        if file.read(len(_LFS_POINTER)) == _LFS_POINTER:
            return "a pointer of Git LFS: the weights themselves did not come along"
    try:
        read_tensors(path)
    except (SafetensorError, OSError, ValueError):
        return "no sound Safetensors file"
    return None


def _not_json(path: Path, has_words: bool) -> str | None:
    if path.stat().st_size > LARGEST_JSON:
        return "larger than any JSON of a model"
    asking: list[str] = []

    def look(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        asking.extend(key for key, value in pairs if _asks_for_code(key, value))  # of two equal keys, both
        return dict(pairs)

    try:
        json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=None if has_words else look)
    except (ValueError, RecursionError):
        return "no JSON"
    return "asks to run code of its own, such as by auto_map" if asking else None


def _asks_for_code(key: str, value: Any) -> bool:
    """Code of the folder, or a kernel from a hub: an attention implementation with a repository's name."""
    return (key in _CODE_KEYS and bool(value)) or (
        key.endswith(("_implementation", "_implementation_internal")) and "/" in json.dumps(value)
    )


def _not_text(path: Path) -> str | None:
    if path.stat().st_size > LARGEST_TEXT:
        return "larger than any text of a model"
    try:
        path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return "no UTF-8 text"
    return None


def index_problem(folder: Path) -> str | None:
    """What is wrong between the index and its files; None without an index."""
    if not (folder / INDEX).is_file():
        return None
    try:
        placed = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
        files = set(placed.values())
    except (ValueError, KeyError, AttributeError, TypeError):
        return f"{INDEX} has no weight_map"
    if any(not isinstance(n, str) or Path(n).name != n or not n.endswith(".safetensors") for n in files):
        return f"{INDEX} names something that is no file of the folder"
    absent = sorted(name for name in files if not (folder / name).is_file())
    if absent:
        return f"{len(absent)} of {len(files)} weight files are missing, such as {shown(absent[0])}"
    held = {(tensor, name) for name in files for tensor in read_tensors(folder / name)}
    return None if held == set(placed.items()) else f"{INDEX} and the weight files name other tensors"
