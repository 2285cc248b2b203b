"""Looks into every file of a model folder, and says what is kept, what is left out, and what the folder is refused for.

Owns the list of files that a model needs, with the kind of content that each must have. A name proves nothing: whatever is
not of its kind is refused, and so is anything that runs code when loaded.
"""

import json
import re
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from fine_tune_assets.core.errors import ModelFolderError
from fine_tune_assets.training.importing.compressed_files import CONTAINERS, is_compressed
from fine_tune_assets.training.importing.pickles import holds_pickle, is_pickle
from fine_tune_assets.training.importing.safetensors_files import NotSafetensorsError, read_tensors
from fine_tune_assets.training.importing.sentencepiece_files import is_sentencepiece_model

INDEX = "model.safetensors.index.json"
WHOLE = "model.safetensors"
NOTICES = ("LICENSE*", "LICENCE*", "COPYING*", "NOTICE*", "USE_POLICY*", "README.md")
JSON_FILES = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "chat_template.json", "preprocessor_config.json", "processor_config.json", INDEX,
)  # fmt: skip
_WORDS = ("tokenizer.json", "vocab.json", "added_tokens.json", INDEX)
"""JSON whose keys are tokens or tensors: any word may be among them."""
_TEXTS = ("merges.txt", "vocab.txt", "chat_template.jinja", *NOTICES)
_CODE_SUFFIXES = {
    ".py",
    ".pyc",
    ".pyo",
    ".pyd",
    ".so",
    ".dll",
    ".dylib",
    ".exe",
    ".sh",
    ".bat",
    ".ps1",
    ".js",
    ".jar",
    ".class",
}
_PROGRAMS = (b"\x7fELF", b"MZ", b"#!", b"\xca\xfe\xba\xbe", b"\xfe\xed\xfa", b"\xcf\xfa\xed\xfe", b"\0asm")
_LFS_POINTER = b"version https://git-lfs"
_CODE_KEYS = {"auto_map", "custom_pipelines", "custom_generate", "trust_remote_code"}
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")
_SHORTEST_TEXT = 64
"""Characters. By chance a shorter one may be the beginning of a zlib stream; none of printable bytes alone holds a pickle."""
LARGEST_JSON = 256 << 20
LARGEST_TEXT = 64 << 20


@dataclass(frozen=True)
class Scan:
    kept: tuple[Path, ...]
    """Files at the top that a model is made of, and its notices."""
    left_out: tuple[Path, ...]
    """Harmless, and nothing here needs it."""
    refused: dict[Path, str]
    """File → why."""


def scan_folder(folder: Path) -> Scan:
    """Look into every file below `folder`; paths are relative to it. Links must lead to files of the same model."""
    kept: list[Path] = []
    left_out: list[Path] = []
    refused: dict[Path, str] = {}
    weights = _weight_files(folder)
    for path in sorted(folder.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            continue
        name = path.relative_to(folder)
        is_wanted = _is_wanted(path, name, weights)
        reason = _refusal(path, folder, name, is_wanted)
        if reason:
            refused[name] = reason
        else:
            (kept if is_wanted else left_out).append(name)
    return Scan(tuple(kept), tuple(left_out), refused)


def require_safe(scan: Scan, name: str) -> None:
    """Raise ModelFolderError with the files that are refused, and why."""
    if scan.refused:
        listed = [f"{shown(str(path))} ({why})" for path, why in list(scan.refused.items())[:5]]
        more = f", and {len(scan.refused) - 5} more" if len(scan.refused) > 5 else ""
        raise ModelFolderError(
            f"{shown(name)} is refused for: {', '.join(listed)}{more}. A base model is Safetensors weights, JSON and text: "
            "convert what is not, remove what isn't needed, and bring it again."
        )


def shown(name: str) -> str:
    """A file's name that can't write over a terminal."""
    return "".join(c if c.isprintable() else "?" for c in name)[:120]


def weight_files(folder: Path) -> list[Path]:
    """The Safetensors files that hold the model: those of the index, or the only one."""
    return [folder / name for name in sorted(_weight_files(folder))]


def _weight_files(folder: Path) -> set[str]:
    index = folder / INDEX
    if index.is_file() and index.stat().st_size <= LARGEST_JSON:
        try:
            return {str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
            return set()  # the index itself is refused
    names = {path.name for path in folder.glob("*.safetensors")}
    return {WHOLE} if WHOLE in names else names


def _is_wanted(path: Path, name: Path, weights: set[str]) -> bool:
    if len(name.parts) > 1 or not path.is_file():
        return False
    if name.suffix == ".safetensors":
        return name.name in weights
    # Some models have a list of another kind under this name, which no engine reads.
    is_vocabulary = name.name == "tokenizer.model" and is_sentencepiece_model(path)
    return name.name in JSON_FILES or is_vocabulary or _is_text(name.name)


def _is_text(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in _TEXTS)


def _refusal(path: Path, folder: Path, name: Path, is_wanted: bool) -> str | None:
    """Why the folder is refused for this file; None if it isn't."""
    if not path.is_file():
        return "a link that leads nowhere, a device or a pipe"
    if path.is_symlink() and not _stays(path, folder):
        return "a link to somewhere else"
    if name.suffix.lower() in _CODE_SUFFIXES:
        return "code"
    if name.name.startswith("adapter_"):
        return "part of an adapter, not of a base model"
    if name.suffix == ".safetensors":
        return _not_safetensors(path)
    if name.suffix == ".json":
        return _not_json(path, has_words=name.name in _WORDS)
    if is_wanted and name.name != "tokenizer.model":
        return _not_text(path)
    return "a pickle, which runs code when loaded" if holds_pickle(path) else _harmful(path)


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
    except NotSafetensorsError as error:
        return _harmful(path) or f"{error}{', but a pickle' if is_pickle(path) else ''}"
    if is_pickle(path) or _is_zip(path):
        return "Safetensors that can be read as a pickle as well"
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
        return _harmful(path) or ("a pickle, not JSON" if is_pickle(path) else "no JSON")
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
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return "a pickle" if is_pickle(path) else _harmful(path) or "no UTF-8 text"
    if holds_pickle(path):
        return "a pickle written as text, which runs code when loaded"
    if _CONTROL.search(text):
        return _harmful(path) or "no plain text: it has control characters"
    if len(text) >= _SHORTEST_TEXT and is_compressed(path):
        return "compressed data written as text: pickles hide in such files"
    return "a program" if text.startswith("#!") else None


def _harmful(path: Path) -> str | None:
    """Whether the content is a program, or a container in which a pickle can hide."""
    with path.open("rb") as file:
        start = file.read(16)
    if start.startswith(_PROGRAMS):
        return "a program"
    found = next((kind for magic, kind in CONTAINERS.items() if start.startswith(magic)), None)
    found = found or ("a ZIP archive" if _is_zip(path) else "a tar archive" if _is_tar(path) else None)
    found = found or ("compressed data" if is_compressed(path) else None)
    return f"{found}: pickles hide in such files" if found else None


def _is_zip(path: Path) -> bool:
    """Whether it opens as a ZIP archive, which may begin anywhere in a file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return bool(archive.namelist())
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        return False


def _is_tar(path: Path) -> bool:
    try:
        with tarfile.open(path, "r:") as archive:
            return archive.next() is not None
    except (tarfile.TarError, ValueError, OSError, OverflowError):
        return False


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
    held = {(tensor, name) for name in files for tensor in _names(folder / name)}
    return None if held == set(placed.items()) else f"{INDEX} and the weight files name other tensors"


def _names(path: Path) -> Iterator[str]:
    try:
        yield from read_tensors(path)
    except NotSafetensorsError:
        return
