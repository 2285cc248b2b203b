"""Drafting with a real base model."""

from dataclasses import replace
from pathlib import Path

import pytest

from fine_tune_assets.approval.draft_generation import write_with_model
from fine_tune_assets.approval.task_kinds import DraftRequest
from fine_tune_assets.core.errors import ChangedFolderError
from fine_tune_assets.core.fingerprints import fingerprint_folder, short
from fine_tune_assets.core.progress import ignore_progress

pytestmark = pytest.mark.slow  # importing torch and transformers takes some seconds
PROMPT = "You are brief."


def request(number: int, text: str, max_new_tokens: int) -> DraftRequest:
    return DraftRequest(f"r{number}", f"b/{number}", "p", "summary", "Name the complaint.", text, max_new_tokens)


def test_base_model_drafts_each_request_and_is_named(smollm2: Path) -> None:
    """Requests with different lengths in one batch; each row names its request."""
    fingerprint = fingerprint_folder(smollm2)
    requests = [request(1, "A sore knee.", 2), request(2, "The patient has had a cough for three weeks.", 24)]
    rows = {
        r["request_fingerprint"]: r
        for r in write_with_model(requests, smollm2, fingerprint, PROMPT, 1, ignore_progress).to_pylist()
    }
    assert set(rows) == {"r1", "r2"}
    assert {row["drafted_by"] for row in rows.values()} == {f"model {short(fingerprint)}"}
    assert not rows["r1"]["is_finished"]
    assert rows["r2"]["output"]


def test_base_model_writes_questions_and_answers_them(smollm2: Path) -> None:
    """Each row that is not dropped is a question and its answer."""
    asked = replace(
        request(3, "The patient has had a cough for three weeks. She takes 20 mg of lisinopril.", 24), questions=2
    )
    rows = write_with_model([asked], smollm2, fingerprint_folder(smollm2), PROMPT, 1, ignore_progress).to_pylist()
    assert rows
    assert {row["request_fingerprint"] for row in rows} == {"r3"}
    assert all(row["instruction"].endswith("?") and row["output"] for row in rows if row["dropped"] is None)
    assert len({row["number"] for row in rows}) == len(rows)


def test_changed_base_model_drafts_nothing(smollm2: Path) -> None:
    """Its drafts would be attributed to another model."""
    with pytest.raises(ChangedFolderError):
        write_with_model([request(1, "A sore knee.", 2)], smollm2, "0" * 64, PROMPT, 1, ignore_progress)
