"""Reads the prompt settings of a release from its folder, once per release."""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from fine_tune_assets.core.errors import materialize_hint
from fine_tune_assets.core.fingerprints import fingerprint_file
from fine_tune_assets.core.prompts.retrieval_contract import RetrievalContract
from fine_tune_assets.core.releases.release_folders import (
    PROMPT,
    PromptSettings,
    ReleaseError,
    ReleaseFolder,
    read_release,
)
from fine_tune_assets.gateway.answers.cited_answers import read_instructions
from fine_tune_assets.gateway.wire_format import unavailable


@dataclass(frozen=True)
class LoadedRelease:
    release: ReleaseFolder
    prompt_settings: PromptSettings
    chat_template: str
    retrieval: RetrievalContract | None
    instructions: frozenset[str]
    """Instructions of the tasks that the release was trained on."""


def load_release(folder: Path, release_id: str) -> LoadedRelease:
    """Raises ApiError if the folder is unreadable or was changed."""
    try:
        return _load(folder, release_id)
    except (ReleaseError, OSError, ValueError) as error:
        raise unavailable(
            f"The folder of release {release_id} is unreadable. {materialize_hint('releases')}"
        ) from error


@lru_cache(maxsize=16)
def _load(folder: Path, release_id: str) -> LoadedRelease:
    """Safe to cache: releases are immutable, and the supervisor verified the folder before it started the engine."""
    release = read_release(folder)
    if release.release_id != release_id or fingerprint_file(folder / PROMPT) != release.manifest["files"].get(PROMPT):
        raise unavailable(f"The folder of release {release_id} was changed. {materialize_hint('releases')}")
    template = json.loads((folder / PROMPT).read_text(encoding="utf-8")).get("chat_template")
    return LoadedRelease(
        release, release.prompt_settings, str(template or ""), release.retrieval, read_instructions(release)
    )
