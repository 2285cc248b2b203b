"""Writes, reads and verifies release folders.

The manifest lists the hash of every file, and `release_id` is the fingerprint of the manifest, so that a changed folder no longer
verifies. `release_signing` checks the signature. Layout:

    releases/<release_id>/manifest.json   contents, with the hash of each file
                          prompt.json     the prompt contract: system prompt, chat template, special tokens, stop ids
                          model.gguf      the model for llama.cpp, or
                          adapter.gguf    a LoRA for llama.cpp; the manifest contains the hash of its base GGUF, or
                          weights/        the merged Safetensors and tokenizer for vLLM
                          release.sig     the signature on all other files

docs/reference/release.md lists the other files.
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
from fine_tune_assets.core.prompts.prompt_contract import parse_prompt_contract
from fine_tune_assets.core.prompts.retrieval_contract import RetrievalContract, parse_retrieval_contract
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
"""Signatures and keys of an installation. They are excluded from the id, which depends on the content only."""
HASHES, SIZES = "files", "bytes"
"""Keys of the manifest: path → SHA-256, and path → size in bytes."""
MEMBERS = frozenset(
    {MANIFEST, PROMPT, MODEL, ADAPTER, PROBES, RETRIEVAL, *SEALS, VERDICT_DOCUMENT}
    | {"recipe.yaml", "sbom.cdx.json", "README.md", "DATASET_CARD.md"}
    | {f"{EVIDENCE}/{name}.json" for name in ("instruction_set", "scrub_certificate", "leakage_certificate")}
    | {f"{EVIDENCE}/{name}.json" for name in ("judge_qualification", "parity")}
)
"""Every file that a release can contain, except those in `weights/`."""
_WEIGHTS_FILE = re.compile(rf"{WEIGHTS}/[A-Za-z0-9_][A-Za-z0-9._-]{{0,80}}\.(safetensors|json|txt|jinja|model)")
"""Tensors, configuration and tokenizer; no code and no pickles."""
HashFile = Callable[[Path], str]


class ReleaseError(FineTuneError):
    """A release is incomplete, was changed, or can't be verified."""


@dataclass(frozen=True)
class PromptSettings:
    """The part of the prompt contract that clients of the model need."""

    system_prompt: str
    control_tokens: tuple[str, ...]
    """Escaped in messages before the engine renders them."""


@dataclass(frozen=True)
class ReleaseFolder:
    folder: Path
    release_id: str
    manifest: dict[str, Any]

    @property
    def engine(self) -> str:
        """The engine that serves it; older releases name none."""
        return str(self.manifest.get("engine", "llama_cpp"))

    @property
    def base_gguf(self) -> str:
        """SHA-256 of the base GGUF for the release's adapter; empty for a release that contains the whole model."""
        return str((self.manifest.get("base_gguf") or {}).get("sha256", ""))

    @property
    def _model_name(self) -> str:
        if reads_folder(self.engine):
            return WEIGHTS
        return ADAPTER if self.base_gguf else MODEL

    @property
    def model(self) -> Path:
        """The model in the release: a GGUF file, or a folder of weights."""
        return self.folder / self._model_name

    @property
    def model_fingerprint(self) -> str:
        """Fingerprint of `model`, computed from the manifest's hashes."""
        files = self.manifest["files"]
        if not reads_folder(self.engine):
            return str(files.get(self._model_name, ""))
        inside = {name: found for name, found in files.items() if name.startswith(f"{WEIGHTS}/")}
        return fingerprint_mapping({name.removeprefix(f"{WEIGHTS}/"): found for name, found in inside.items()})

    @property
    def prompt_settings(self) -> PromptSettings:
        """Raises ReleaseError if `prompt.json` is unreadable or its fingerprint differs from the manifest's."""
        try:
            contract = parse_prompt_contract((self.folder / PROMPT).read_text(encoding="utf-8"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ReleaseError(
                f"Release {self.release_id} has no readable {PROMPT}. {materialize_hint('releases')}"
            ) from error
        if contract.fingerprint != self.manifest.get("prompt_fingerprint"):
            raise ReleaseError(
                f"Release {self.release_id}: {PROMPT} differs from the prompt contract that the model was trained with. "
                f"{materialize_hint('releases')}"
            )
        return PromptSettings(contract.system_prompt, contract.control_tokens)

    @property
    def system_prompt(self) -> str:
        return self.prompt_settings.system_prompt

    @property
    def retrieval(self) -> RetrievalContract | None:
        """How the release answers from documents; None for older releases. Raises ReleaseError."""
        if RETRIEVAL not in self.manifest["files"]:
            return None
        try:
            content = (self.folder / RETRIEVAL).read_text(encoding="utf-8")
            if fingerprint_text(content) == self.manifest["files"][RETRIEVAL]:
                return parse_retrieval_contract(content)
        except (OSError, ValueError, KeyError, TypeError):
            pass
        raise ReleaseError(
            f"Release {self.release_id}: {RETRIEVAL} is unreadable or was changed. {materialize_hint('releases')}"
        )


def is_member(name: str) -> bool:
    """Whether a release, or the archive of one, can contain a file of this name."""
    return name in MEMBERS or _WEIGHTS_FILE.fullmatch(name) is not None


def compute_release_id(manifest: dict[str, Any]) -> str:
    return short(fingerprint_json(manifest))


def hash_release_files(folder: Path, hash_file: HashFile = fingerprint_file) -> dict[str, str]:
    """Relative path → SHA-256 of every file. Raises ReleaseError for links and special files, whose target can change."""
    hashes = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise ReleaseError(
                f"Release folder {folder.name}: {name} is not a regular file. {materialize_hint('releases')}"
            )
        if path.is_file():
            hashes[name] = hash_file(path)
    return hashes


def write_manifest(folder: Path, facts: dict[str, Any], hash_file: HashFile = fingerprint_file) -> str:
    """Add `manifest.json` to a folder that contains all other files; return the release id."""
    files = {name: found for name, found in hash_release_files(folder, hash_file).items() if name not in SEALS}
    manifest = {**facts, HASHES: files, SIZES: {name: (folder / name).stat().st_size for name in files}}
    write_text(folder / MANIFEST, json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False))
    return compute_release_id(manifest)


def read_release(folder: Path) -> ReleaseFolder:
    """Read the manifest without checking the files. Raises ReleaseError."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if not isinstance(manifest, dict):
            raise ValueError("not an object")
    except (OSError, ValueError) as error:
        raise ReleaseError(
            f"Release folder {folder.name} has no readable {MANIFEST}. {materialize_hint('releases')}"
        ) from error
    return ReleaseFolder(folder, compute_release_id(manifest), manifest)


def verify_release(folder: Path, release_id: str, files: dict[str, str] | None = None) -> ReleaseFolder:
    """Check the manifest against `release_id`, and every file against the manifest. Does not check the signature.

    `files`: hashes of all files, if known. Raises ReleaseError.
    """
    release = read_release(folder)
    if release.release_id != release_id:
        raise ReleaseError(f"Release {release_id}: its manifest was changed. {materialize_hint('releases')}")
    hashes = hash_release_files(folder) if files is None else files
    actual = {name: value for name, value in hashes.items() if name not in {MANIFEST, *SEALS}}
    expected = release.manifest.get("files", {})
    changed = sorted(name for name in expected if actual.get(name, "") != expected[name])
    extra = sorted(set(actual) - set(expected))
    if changed or extra:
        raise ReleaseError(
            f"Release {release_id}: {len(changed)} files changed or missing {changed}, {len(extra)} unexpected {extra}. "
            f"{materialize_hint('releases')}"
        )
    _ = release.prompt_settings  # raises for another prompt contract
    return release
