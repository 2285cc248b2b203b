"""A release folder: a manifest that names every file with its hash, and is itself named by its fingerprint.

Owns writing, reading and verifying it. `release_id` is the fingerprint of the manifest's content, so a folder whose
manifest or files were changed no longer verifies. Layout:

    releases/<release_id>/manifest.json   what it is made of, with the hash of each file
                          prompt.json     the prompt contract: system prompt, chat template, special tokens, stop ids
                          model.gguf      what the llama.cpp engine serves, or
                          weights/        what vLLM serves: the merged Safetensors with their tokenizer
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.files import write_text
from fine_tune_assets.core.fingerprints import fingerprint_files, fingerprint_json, short
from fine_tune_assets.core.prompt_contract import contract_from_json, prompt_and_template

MANIFEST = "manifest.json"
PROMPT = "prompt.json"
MODEL = "model.gguf"
WEIGHTS = "weights"


class ReleaseError(FineTuneError):
    """A release folder is incomplete or was changed."""


@dataclass(frozen=True)
class AskedWith:
    """What everybody who asks a release's model needs of its prompt contract."""

    system_prompt: str
    control_tokens: tuple[str, ...]
    """Made plain text in messages before the engine renders them; empty in releases of before these were kept."""


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
    def model(self) -> Path:
        """What the engine is started on: a GGUF file, or a folder."""
        return self.folder / (WEIGHTS if self.engine == "vllm" else MODEL)

    @property
    def asked_with(self) -> AskedWith:
        """What the model is asked with, if the prompt in the folder is the one of the manifest. Raises ReleaseError."""
        return _asked_with(self)

    @property
    def system_prompt(self) -> str:
        return self.asked_with.system_prompt


def _asked_with(release: ReleaseFolder) -> AskedWith:
    try:
        text = (release.folder / PROMPT).read_text(encoding="utf-8")
        values = json.loads(text)
        if set(values) == {"system_prompt", "chat_template"}:  # a release of before the contract held more
            found = prompt_and_template(values["system_prompt"], values["chat_template"])
        else:
            found = contract_from_json(text).fingerprint
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReleaseError(
            f"Release {release.release_id} has no readable {PROMPT}. Build the release again."
        ) from error
    if found != release.manifest.get("prompt_fingerprint"):
        raise ReleaseError(
            f"Release {release.release_id}: {PROMPT} is not the prompt contract that its model was trained with. "
            "Build the release again."
        )
    return AskedWith(str(values["system_prompt"]), tuple(values.get("control_tokens", ())))


def release_id_of(manifest: dict[str, Any]) -> str:
    return short(fingerprint_json(manifest))


def write_manifest(folder: Path, facts: dict[str, Any]) -> str:
    """Add `manifest.json` to a folder that holds all other files; return the release id."""
    manifest = {**facts, "files": fingerprint_files(folder)}
    write_text(folder / MANIFEST, json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False))
    return release_id_of(manifest)


def read_release(folder: Path) -> ReleaseFolder:
    """Read the manifest without checking the files. Raises ReleaseError."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ReleaseError(f"Release folder {folder.name} has no readable {MANIFEST}.") from error
    return ReleaseFolder(folder, release_id_of(manifest), manifest)


def verify_release(folder: Path, release_id: str) -> ReleaseFolder:
    """Check the manifest against `release_id` and every file against the manifest. Raises ReleaseError."""
    release = read_release(folder)
    if release.release_id != release_id:
        raise ReleaseError(f"Release {release_id}: its manifest was changed. Build the release again.")
    found = {name: value for name, value in fingerprint_files(folder).items() if name != MANIFEST}
    wanted = release.manifest["files"]
    changed = sorted(name for name in wanted if found.get(name, "") != wanted[name])
    extra = sorted(set(found) - set(wanted))
    if changed or extra:
        raise ReleaseError(
            f"Release {release_id}: {len(changed)} files changed or missing {changed}, {len(extra)} unexpected {extra}. "
            "Build the release again."
        )
    _asked_with(release)
    return release
