"""Brings a model into the base models of the data folder: from a Hugging Face folder, an archive, or a GGUF.

Owns the order: look into what a model needs, write aside, check what was written, rename. Nothing half-written is ever under a
model's name, and no hub is asked.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from fine_tune_assets.core.errors import ModelFolderError
from fine_tune_assets.core.files import folder_written_aside, locked
from fine_tune_assets.core.fingerprints import fingerprint_file, fingerprint_folder, short
from fine_tune_assets.engines.portable import make_portable
from fine_tune_assets.training.base_models import BaseModel, describe_base_model, write_source
from fine_tune_assets.training.importing.archives import is_archive, unpack
from fine_tune_assets.training.importing.gguf_files import convert_gguf, read_gguf
from fine_tune_assets.training.importing.licences import find_licence, spdx_name
from fine_tune_assets.training.importing.model_files import model_files, require_sound, shown

LOCK, STAGING = ".importing.lock", "importing-"
_GGUF = b"GGUF"
_RESERVE = 1.05
"""Of the bytes that are about to be written: an import that fills the disk to its last byte harms everything else on it."""


@dataclass(frozen=True)
class Imported:
    model: BaseModel
    folder: Path
    left_out: tuple[str, ...]
    """Files that no engine here needs."""


@dataclass(frozen=True)
class _Staged:
    fingerprint: str
    """Of what was brought, before anything was changed."""
    licence: str
    source: str
    left_out: tuple[str, ...]


def import_model(path: Path, base_models: Path, name: str, licence: str, source: str) -> Imported:
    """Write `base_models/<name>-<hash of its content>/`. Empty texts mean what the model itself says.

    Raises ModelFolderError with nothing written.
    """
    name = _folder_name(name or _own_name(path))
    if licence and not spdx_name(licence):
        raise ModelFolderError(f"{shown(licence)} names no licence. Give an SPDX id, or LicenseRef- and a name.")
    with _staging(base_models) as staging:
        folder = staging / name
        staged = _stage(path, folder, staging / ".unpacked")
        make_portable(folder)
        found = find_licence(folder, licence or staged.licence)
        described = describe_base_model(name, folder, found.name)
        origin = {
            "source": source or staged.source or f"imported from {shown(path.name)}",
            "source_fingerprint": staged.fingerprint,
            "licence": described.licence,
        }
        write_source(folder, {"name": name, **origin}, content=described.fingerprint)
        fingerprint = fingerprint_folder(folder)
        final = base_models / f"{name}-{short(fingerprint)}"
        with folder_written_aside(final) as aside:
            aside.rmdir()
            os.replace(folder, aside)
    model = replace(
        described,
        fingerprint=fingerprint,
        folder=str(final),
        source=origin["source"],
        source_fingerprint=origin["source_fingerprint"],
    )
    return Imported(model, final, staged.left_out)


def _stage(path: Path, folder: Path, scratch: Path) -> _Staged:
    folder.mkdir(mode=0o700)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelFolderError(f"{shown(path.name)} has no config.json: it is no Hugging Face folder.")
        return _stage_folder(path, folder)
    if not path.is_file():
        raise ModelFolderError(f"There is no file or folder {shown(str(path))}.")
    with path.open("rb") as file:
        start = file.read(len(_GGUF))
    if start == _GGUF:
        return _stage_gguf(path, folder)
    if is_archive(path):
        scratch.mkdir(mode=0o700)
        fingerprint = fingerprint_file(path)
        unpacked, left_out = unpack(path, scratch)
        staged = _stage_folder(unpacked, folder)
        return replace(staged, fingerprint=fingerprint, left_out=(*map(shown, left_out), *staged.left_out))
    raise ModelFolderError(
        f"{shown(path.name)} is no Hugging Face folder, no ZIP or tar archive of one, and no GGUF. A single weights file is not "
        "enough: bring the folder with config.json and tokenizer.json."
    )


def _stage_folder(path: Path, folder: Path) -> _Staged:
    """Copy what a model is made of, once each of these files was looked into."""
    kept, others = model_files(path)
    require_sound(path, kept)
    _require_space(folder, sum((path / name).stat().st_size for name in kept))
    for name in kept:
        shutil.copyfile(path / name, folder / name)
    # Hashed, and later checked, is the copy: the folder may change meanwhile.
    fingerprint = fingerprint_folder(folder)
    return _Staged(fingerprint, "", "", tuple(map(shown, others)))


def _stage_gguf(path: Path, folder: Path) -> _Staged:
    facts = read_gguf(path)
    _require_space(folder, facts.parameters * (4 if facts.weights_dtype == "float32" else 2))
    convert_gguf(path, folder)
    return _Staged(fingerprint_file(path), facts.licence, facts.source, ())


def _require_space(folder: Path, size_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if size_bytes * _RESERVE > free:
        raise ModelFolderError(
            f"The model takes {size_bytes / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free below {folder.parent.parent}. "
            "Free some space, or set FINE_TUNE_DATA_DIR to a larger disk."
        )


@contextmanager
def _staging(base_models: Path) -> Iterator[Path]:
    """A folder on the same disk. One import at a time; what a killed one left behind is removed."""
    with locked(base_models / LOCK):
        for left in base_models.glob(f".{STAGING}*"):
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=f".{STAGING}", dir=base_models) as staging:
            yield Path(staging)


def _own_name(path: Path) -> str:
    """The name of the file or folder; in a Hugging Face cache, where folders are named by hashes, that of the repository."""
    if path.parent.name == "snapshots":
        return path.parent.parent.name.rpartition("--")[2]
    return re.sub(r"\.(zip|tar|tar\.gz|tgz|gguf)$", "", path.resolve().name, flags=re.IGNORECASE)


def _folder_name(name: str) -> str:
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")
    if not cleaned:
        raise ModelFolderError(f"{shown(name)} can't be the name of a folder. Give one with --name.")
    return cleaned[:80]
