"""Puts a release together: one content-addressed folder with the model, its prompt, and the evidence for it."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fine_tune_assets.core.files import folder_written_aside, write_text
from fine_tune_assets.core.prompt_contract import PromptContract
from fine_tune_assets.core.releases import MODEL, PROMPT, ReleaseFolder, read_release, verify_release, write_manifest

CARD = "README.md"


def build_release(
    releases_dir: Path,
    gguf: Path,
    contract: PromptContract,
    evidence: Mapping[str, str],
    facts: Mapping[str, Any],
) -> ReleaseFolder:
    """Write `releases_dir/<release id>/`. `evidence` maps file names to JSON text; `facts` goes into the manifest.

    The same content gives the same id, and an existing folder is kept if it is whole, else replaced.
    """
    scratch = releases_dir / ".building"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        _link(gguf, scratch / MODEL)
        write_text(scratch / PROMPT, contract.as_json())
        for name, text in evidence.items():
            write_text(scratch / "evidence" / name, text)
        write_text(scratch / CARD, _card(facts))
        release_id = write_manifest(scratch, {**facts, "prompt_fingerprint": contract.fingerprint})
        folder = releases_dir / release_id
        with folder_written_aside(folder) as aside:
            aside.rmdir()
            os.replace(scratch, aside)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    verify_release(folder, release_id)
    return read_release(folder)


def _link(source: Path, target: Path) -> None:
    """A hard link where the file system allows it: a release then costs no second copy of the weights."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy(source, target)


def _card(facts: Mapping[str, Any]) -> str:
    rows = "\n".join(f"| {name} | {value} |" for name, value in facts.items() if not isinstance(value, dict | list))
    return (
        f"# Model card\n\nWhat this release is made of. Figures and reasons: `evidence/`.\n\n| | |\n|---|---|\n{rows}\n"
    )
