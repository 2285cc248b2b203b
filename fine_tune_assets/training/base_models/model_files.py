"""Lists which files make up a model, and checks that each is what its name says.

Other files are neither copied nor loaded; these are read by parsers that cannot run code.
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

INDEX_FILE = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"
SOURCE_FILE = "source.json"
JSON_FILES = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "chat_template.json", "preprocessor_config.json", "processor_config.json", INDEX_FILE,
)  # fmt: skip
_FREE_KEY_FILES = ("tokenizer.json", "vocab.json", "added_tokens.json", INDEX_FILE)
"""JSON files whose keys are tokens or tensor names, so any word is allowed."""
_TEXT_FILES = (
    "merges.txt", "vocab.txt", "chat_template.jinja", "LICENSE*", "LICENCE*", "COPYING*", "NOTICE*", "USE_POLICY*", "README.md",
)  # fmt: skip
_VOCABULARY = "tokenizer.model"
_SENTENCEPIECE = b"\n"
"""A SentencePiece model begins with this tag. Some models use the name for another kind of vocabulary."""
_LFS_POINTER = b"version https://git-lfs"
_CODE_KEYS = {"auto_map", "custom_pipelines", "custom_generate", "trust_remote_code"}
MAX_JSON_BYTES = 256 << 20
MAX_TEXT_BYTES = 64 << 20


@dataclass(frozen=True)
class Tensor:
    dtype: str
    shape: tuple[int, ...]

    @property
    def element_count(self) -> int:
        return prod(self.shape)


def is_allowed_name(name: str) -> bool:
    """Whether a model may have a file of this name. For weights, any name that an index can contain."""
    return name in JSON_FILES or name == _VOCABULARY or name.endswith(".safetensors") or _is_text_file(name)


def model_files(folder: Path) -> tuple[list[str], list[str]]:
    """Names in `folder` that belong to the model, and the other names, including folders."""
    weights = _weight_names(folder)
    included: list[str] = []
    others: list[str] = []
    for path in sorted(folder.iterdir()):
        is_included = path.is_file() and _is_model_file(path, weights)
        (included if is_included else others).append(path.name)
    return included, others


def _is_model_file(path: Path, weights: set[str]) -> bool:
    if path.suffix == ".safetensors":
        return path.name in weights
    if path.name == _VOCABULARY:
        with path.open("rb") as file:
            return file.read(len(_SENTENCEPIECE)) == _SENTENCEPIECE
    return is_allowed_name(path.name)


def _is_text_file(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in _TEXT_FILES)


def require_valid_files(folder: Path, names: Iterable[str]) -> None:
    """Raise ModelFolderError with the files that are not what their names say, and the reasons."""
    found = [f"{printable(name)} ({why})" for name in names if (why := _file_problem(folder / name, folder))]
    if found:
        more = f", and {len(found) - 5} more" if len(found) > 5 else ""
        raise ModelFolderError(
            f"{printable(folder.name)} has invalid files: {', '.join(found[:5])}{more}. Copy or download them again."
        )


def printable(name: str) -> str:
    """A file name without terminal control characters."""
    return "".join(c if c.isprintable() else "?" for c in name)[:120]


def weight_files(folder: Path) -> list[Path]:
    """The model's Safetensors files: all in the index, or the only one."""
    return [folder / name for name in sorted(_weight_names(folder))]


def _weight_names(folder: Path) -> set[str]:
    index = folder / INDEX_FILE
    if index.is_file() and index.stat().st_size <= MAX_JSON_BYTES:
        try:
            return {str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
            return set()  # the index itself is refused later
    names = {path.name for path in folder.glob("*.safetensors")}
    return {SINGLE_FILE} if SINGLE_FILE in names else names


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor by name, without its data. Raises SafetensorError if the header does not account for every byte."""
    with safe_open(path, framework="np") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        return {name: Tensor(part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}


def _file_problem(path: Path, folder: Path) -> str | None:
    if path.is_symlink() and not _is_link_inside(path, folder):
        return "a link to another place"
    if path.suffix == ".safetensors":
        return _safetensors_problem(path)
    if path.suffix == ".json":
        return _json_problem(path, has_free_keys=path.name in _FREE_KEY_FILES)
    return None if path.name == _VOCABULARY else _text_problem(path)


def _is_link_inside(path: Path, folder: Path) -> bool:
    """Whether a link leads to the same model's folder or to the blobs of its Hugging Face cache."""
    target, root = path.resolve(), folder.resolve()
    blobs = root.parent.parent / "blobs" if root.parent.name == "snapshots" else root
    return target.is_relative_to(root) or target.is_relative_to(blobs)


def _safetensors_problem(path: Path) -> str | None:
    with path.open("rb") as file:
        if file.read(len(_LFS_POINTER)) == _LFS_POINTER:
            return "a Git LFS pointer instead of the weights"
    try:
        read_tensors(path)
    except (SafetensorError, OSError, ValueError):
        return "not a valid Safetensors file"
    return None


def _json_problem(path: Path, has_free_keys: bool) -> str | None:
    if path.stat().st_size > MAX_JSON_BYTES:
        return f"larger than {MAX_JSON_BYTES >> 20} MiB"
    code_keys: list[str] = []

    def collect_code_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        code_keys.extend(key for key, value in pairs if _requests_code(key, value))  # including duplicate keys
        return dict(pairs)

    try:
        json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=None if has_free_keys else collect_code_keys)
    except (ValueError, RecursionError):
        return "not valid JSON"
    return "requests custom code, for example with auto_map" if code_keys else None


def _requests_code(key: str, value: Any) -> bool:
    """Custom code of the folder, or a kernel from a hub: an attention implementation that names a repository."""
    return (key in _CODE_KEYS and bool(value)) or (
        key.endswith(("_implementation", "_implementation_internal")) and "/" in json.dumps(value)
    )


def _text_problem(path: Path) -> str | None:
    if path.stat().st_size > MAX_TEXT_BYTES:
        return f"larger than {MAX_TEXT_BYTES >> 20} MiB"
    try:
        path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return "not UTF-8 text"
    return None


def index_problem(folder: Path) -> str | None:
    """Any mismatch between the index and its files; None without an index."""
    if not (folder / INDEX_FILE).is_file():
        return None
    try:
        weight_map = json.loads((folder / INDEX_FILE).read_text(encoding="utf-8"))["weight_map"]
        files = set(weight_map.values())
    except (ValueError, KeyError, AttributeError, TypeError):
        return f"{INDEX_FILE} has no weight_map"
    if any(not isinstance(n, str) or Path(n).name != n or not n.endswith(".safetensors") for n in files):
        return f"{INDEX_FILE} names a file outside the folder"
    missing = sorted(name for name in files if not (folder / name).is_file())
    if missing:
        return f"{len(missing)} of {len(files)} weight files are missing, such as {printable(missing[0])}"
    actual = {(tensor, name) for name in files for tensor in read_tensors(folder / name)}
    return None if actual == set(weight_map.items()) else f"{INDEX_FILE} and the weight files list different tensors"
