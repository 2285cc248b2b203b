"""What the gateway has to know of a release to ask an engine that serves it: read from its folder, once."""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from fine_tune_assets.core.fingerprints import fingerprint_file
from fine_tune_assets.core.prompts.retrieval_contract import RetrievalContract
from fine_tune_assets.core.releases.release_folders import PROMPT, AskedWith, ReleaseError, ReleaseFolder, read_release
from fine_tune_assets.gateway.answers.knowledge import instructions_of
from fine_tune_assets.gateway.wire_format import unavailable


@dataclass(frozen=True)
class KnownRelease:
    """Of a release, read once."""

    release: ReleaseFolder
    asked_with: AskedWith
    template: str
    retrieval: RetrievalContract | None
    instructions: frozenset[str]
    """Of the tasks that it was trained on."""


def known_release(folder: Path, release_id: str) -> KnownRelease:
    """Raises ApiError if the folder can't be read or was changed."""
    try:
        return _known(folder, release_id)
    except (ReleaseError, OSError, ValueError) as error:
        raise unavailable("The live release's folder can't be read. Build the release again.") from error


@lru_cache(maxsize=16)
def _known(folder: Path, release_id: str) -> KnownRelease:
    """Never changes for a release id. The supervisor verified the folder before it started the engine."""
    release = read_release(folder)
    if release.release_id != release_id or fingerprint_file(folder / PROMPT) != release.manifest["files"].get(PROMPT):
        raise unavailable("The live release's folder was changed. Build the release again.")
    template = json.loads((folder / PROMPT).read_text(encoding="utf-8")).get("chat_template")
    return KnownRelease(release, release.asked_with, str(template or ""), release.retrieval, instructions_of(release))
