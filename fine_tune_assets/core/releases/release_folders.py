"""A release folder: a manifest that names every file with its hash, and is itself named by its fingerprint.

Owns writing, reading and verifying it. `release_id` is the fingerprint of the manifest's content, so a folder whose
manifest or files were changed no longer verifies; who signed it is `release_signing`'s. Layout:

    releases/<release_id>/manifest.json   what it is made of, with the hash of each file
                          prompt.json     the prompt contract: system prompt, chat template, special tokens, stop ids
                          model.gguf      what the llama.cpp engine serves, or
                          adapter.gguf    a LoRA that llama.cpp applies to a base GGUF, which the manifest names by its hash, or
                          weights/        what vLLM serves: the merged Safetensors with their tokenizer
                          release.sig     the signature on all other files

What else it holds is in docs/reference/release.md.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fine_tune_assets.core.errors import FineTuneError, materialize_hint
from fine_tune_assets.core.files import write_text
from fine_tune_assets.core.fingerprints import (
    fingerprint_file,
    fingerprint_json,
    fingerprint_mapping,
    fingerprint_text,
    short,
)
from fine_tune_assets.core.prompts.prompt_contract import contract_from_json
from fine_tune_assets.core.prompts.retrieval_contract import RetrievalContract, retrieval_contract_from_json
from fine_tune_assets.core.serving_engines import reads_folder

MANIFEST = "manifest.json"
PROMPT = "prompt.json"
MODEL = "model.gguf"
ADAPTER = "adapter.gguf"
WEIGHTS = "weights"
PROBES = "probes.json"
RETRIEVAL = "knowledge_index.json"
EVIDENCE = "evidence"
SIGNATURE = "release.sig"
VERDICT_DOCUMENT, VERDICT_SIGNATURE = f"{EVIDENCE}/verdict.json", f"{EVIDENCE}/verdict.sig"
VERDICT_KEY = f"{EVIDENCE}/verdicts.pub"
SEALS = frozenset({SIGNATURE, VERDICT_SIGNATURE, VERDICT_KEY})
"""What an installation's keys add. It is no part of the id: the same content has the same id wherever it is signed."""
HASHES, SIZES = "files", "bytes"
"""Keys of the manifest: path → SHA-256, and path → size in bytes."""
MEMBERS = frozenset(
    {MANIFEST, PROMPT, MODEL, ADAPTER, PROBES, RETRIEVAL, *SEALS, VERDICT_DOCUMENT}
    | {"recipe.yaml", "sbom.cdx.json", "README.md", "DATASET_CARD.md"}
    | {f"{EVIDENCE}/{name}.json" for name in ("instruction_set", "scrub_certificate", "leakage_certificate")}
    | {f"{EVIDENCE}/{name}.json" for name in ("judge_licence", "parity")}
)
"""Every file that a release may hold, besides those in `weights/`."""
_WEIGHTS_FILE = re.compile(rf"{WEIGHTS}/[A-Za-z0-9_][A-Za-z0-9._-]{{0,80}}\.(safetensors|json|txt|jinja|model)")
"""Tensors, configuration and tokenizer; nothing that is run or unpickled."""
HashFile = Callable[[Path], str]


class ReleaseError(FineTuneError):
    """A release folder is incomplete or was changed."""


@dataclass(frozen=True)
class AskedWith:
    """What everybody who asks a release's model needs of its prompt contract."""

    system_prompt: str
    control_tokens: tuple[str, ...]
    """Made plain text in messages before the engine renders them."""


@dataclass(frozen=True)
class ReleaseFolder:
    folder: Path
    release_id: str
    manifest: dict[str, Any]

    @property
    def engine(self) -> str:
        """The engine that serves it; releases of before there was a choice name none."""
        return str(self.manifest.get("engine", "llama_cpp"))

    @property
    def base_gguf(self) -> str:
        """SHA-256 of the installed GGUF that its adapter is applied to; empty for a release that holds a whole model."""
        return str((self.manifest.get("base_gguf") or {}).get("sha256", ""))

    @property
    def _model_name(self) -> str:
        if reads_folder(self.engine):
            return WEIGHTS
        return ADAPTER if self.base_gguf else MODEL

    @property
    def model(self) -> Path:
        """What the release holds of the model: a GGUF file, or a folder."""
        return self.folder / self._model_name

    @property
    def model_fingerprint(self) -> str:
        """Of `model`, by the manifest's hashes: of the file, or of the folder."""
        files = self.manifest["files"]
        if not reads_folder(self.engine):
            return str(files.get(self._model_name, ""))
        inside = {name: found for name, found in files.items() if name.startswith(f"{WEIGHTS}/")}
        return fingerprint_mapping({name.removeprefix(f"{WEIGHTS}/"): found for name, found in inside.items()})

    @property
    def asked_with(self) -> AskedWith:
        """What the model is asked with, if the prompt in the folder is the one of the manifest. Raises ReleaseError."""
        try:
            contract = contract_from_json((self.folder / PROMPT).read_text(encoding="utf-8"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ReleaseError(
                f"Release {self.release_id} has no readable {PROMPT}. {materialize_hint('releases')}"
            ) from error
        if contract.fingerprint != self.manifest.get("prompt_fingerprint"):
            raise ReleaseError(
                f"Release {self.release_id}: {PROMPT} is not the prompt contract that its model was trained with. "
                f"{materialize_hint('releases')}"
            )
        return AskedWith(contract.system_prompt, contract.control_tokens)

    @property
    def system_prompt(self) -> str:
        return self.asked_with.system_prompt

    @property
    def retrieval(self) -> RetrievalContract | None:
        """How it answers from documents; None for releases of before there was a way. Raises ReleaseError."""
        if RETRIEVAL not in self.manifest["files"]:
            return None
        try:
            content = (self.folder / RETRIEVAL).read_text(encoding="utf-8")
            if fingerprint_text(content) == self.manifest["files"][RETRIEVAL]:
                return retrieval_contract_from_json(content)
        except (OSError, ValueError, KeyError, TypeError):
            pass
        raise ReleaseError(
            f"Release {self.release_id}: {RETRIEVAL} can't be read or was changed. {materialize_hint('releases')}"
        )


def is_member(name: str) -> bool:
    """Whether a release may hold a file of this name: what an archive of a release may hold, too."""
    return name in MEMBERS or _WEIGHTS_FILE.fullmatch(name) is not None


def release_id_of(manifest: dict[str, Any]) -> str:
    return short(fingerprint_json(manifest))


def release_files(folder: Path, hash_file: HashFile = fingerprint_file) -> dict[str, str]:
    """Relative path → SHA-256 of every file. Raises ReleaseError for a link or anything else that is no plain file: what it
    stands for can change without it."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise ReleaseError(
                f"Release folder {folder.name}: {name} is a link or no plain file. {materialize_hint('releases')}"
            )
        if path.is_file():
            found[name] = hash_file(path)
    return found


def write_manifest(folder: Path, facts: dict[str, Any], hash_file: HashFile = fingerprint_file) -> str:
    """Add `manifest.json` to a folder that holds all other files; return the release id."""
    files = {name: found for name, found in release_files(folder, hash_file).items() if name not in SEALS}
    manifest = {**facts, HASHES: files, SIZES: {name: (folder / name).stat().st_size for name in files}}
    write_text(folder / MANIFEST, json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False))
    return release_id_of(manifest)


def read_release(folder: Path) -> ReleaseFolder:
    """Read the manifest without checking the files. Raises ReleaseError."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if not isinstance(manifest, dict):
            raise ValueError("no object")
    except (OSError, ValueError) as error:
        raise ReleaseError(f"Release folder {folder.name} has no readable {MANIFEST}.") from error
    return ReleaseFolder(folder, release_id_of(manifest), manifest)


def verify_release(folder: Path, release_id: str, files: dict[str, str] | None = None) -> ReleaseFolder:
    """Check the manifest against `release_id` and every file against the manifest; `files` if they were hashed just now.

    Asks for no signature: `release_signing` does. Raises ReleaseError.
    """
    release = read_release(folder)
    if release.release_id != release_id:
        raise ReleaseError(f"Release {release_id}: its manifest was changed. {materialize_hint('releases')}")
    there = release_files(folder) if files is None else files
    found = {name: value for name, value in there.items() if name not in {MANIFEST, *SEALS}}
    wanted = release.manifest.get("files", {})
    changed = sorted(name for name in wanted if found.get(name, "") != wanted[name])
    extra = sorted(set(found) - set(wanted))
    if changed or extra:
        raise ReleaseError(
            f"Release {release_id}: {len(changed)} files changed or missing {changed}, {len(extra)} unexpected {extra}. "
            f"{materialize_hint('releases')}"
        )
    _ = release.asked_with  # raises for another prompt contract
    return release
