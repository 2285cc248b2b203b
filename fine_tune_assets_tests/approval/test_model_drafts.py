"""The base model writes drafts: the real one."""

from pathlib import Path

import pytest

from fine_tune_assets.approval.model_drafts import write_with_model
from fine_tune_assets.approval.task_kinds import Request
from fine_tune_assets.core.errors import ChangedFolderError
from fine_tune_assets.core.fingerprints import fingerprint_folder, short
from fine_tune_assets.core.progress import silent

pytestmark = pytest.mark.slow  # torch and transformers take some seconds to import
PROMPT = "You are brief."


def request(number: int, text: str, max_new_tokens: int) -> Request:
    return Request(f"r{number}", f"b/{number}", "p", "summary", "Name the complaint.", text, max_new_tokens)


def test_the_base_model_writes_each_draft_and_is_named(smollm2: Path) -> None:
    """Tasks with different lengths in one go; each row says what it answers."""
    fingerprint = fingerprint_folder(smollm2)
    requests = [request(1, "A sore knee.", 2), request(2, "The patient has had a cough for three weeks.", 24)]
    rows = {r["request"]: r for r in write_with_model(requests, smollm2, fingerprint, PROMPT, 1, silent).to_pylist()}
    assert set(rows) == {"r1", "r2"}
    assert {row["drafted_by"] for row in rows.values()} == {f"model {short(fingerprint)}"}
    assert not rows["r1"]["is_finished"]
    assert rows["r2"]["output"]


def test_a_model_that_is_not_what_is_on_record_writes_nothing(smollm2: Path) -> None:
    """Its drafts would bear another model's name."""
    with pytest.raises(ChangedFolderError, match="base model"):
        write_with_model([request(1, "A sore knee.", 2)], smollm2, "0" * 64, PROMPT, 1, silent)
