"""Drafts that a model wrote: each sentence gets its source, and one bad sentence drops the draft."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.claims.grounding_checks import GROUNDING_CHECKS
from fine_tune_assets.core.progress import Progress, ignore_progress
from fine_tune_assets.judging.evaluation.draft_support import (
    CONTRADICTED,
    MIN_SUPPORT,
    NO_SOURCE,
    RULE,
    UNFOUNDED_QUESTION,
    UNREADABLE,
    UNSUPPORTED,
    check_drafts,
    describe_check,
    find_verifier_failure,
    place_statements,
)
from fine_tune_assets.judging.judges.statement_readers import Claim, Reading
from fine_tune_assets.judging.judges.verifier.verifier_files import (
    CARD_FILE,
    LEAKAGE_FILE,
    SHIPPED_FOLDER,
    WEIGHTS_FILE,
)
from fine_tune_assets.judging.judges.verifier.verifier_reader import open_verifier
from fine_tune_assets.tables.approval_rows import CheckableDraft, DraftCheck

CHECKS = tuple(GROUNDING_CHECKS)
INPUT = "Presents with a cough for three weeks.\nTakes 20 mg of lisinopril.\nThe left knee is swollen."
SUPPORTED, CONTRARY, ABSENT = (0.9, 0.05, 0.05), (0.2, 0.7, 0.1), (0.2, 0.1, 0.7)


@dataclass(frozen=True)
class ScriptedReader:
    """Gives the same reading to every statement; stands in for a model behind our own interface."""

    shares: tuple[float, float, float] = SUPPORTED
    evidence: str = "Presents with a cough for three weeks."

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"reader": "scripted"}

    def for_repeat(self) -> "ScriptedReader":
        return self

    def read(self, claims: Sequence[Claim], progress: Progress) -> list[Reading]:
        progress(len(claims), len(claims), "statements")
        return [Reading(*self.shares, self.evidence) for _ in claims]


def draft(output: str, question: str = "") -> CheckableDraft:
    return CheckableDraft(request_fingerprint="r", number=0, question=question, input=INPUT, output=output)


def check(output: str, question: str = "", reader: ScriptedReader | None = None) -> DraftCheck:
    (found,) = check_drafts(
        [draft(output, question)], reader or ScriptedReader(), CHECKS, "verifier abc", ignore_progress
    )
    return found


def test_each_sentence_has_its_place_and_that_of_its_source() -> None:
    """Offsets, so that the pages can highlight both texts as they are stored."""
    output = "Cough for three weeks. Takes lisinopril."
    found = check(output)
    assert found.dropped is None
    assert [output[one.start : one.end] for one in found.sources] == ["Cough for three weeks.", "Takes lisinopril."]
    assert {INPUT[one.source_start : one.source_end] for one in found.sources} == {
        "Presents with a cough for three weeks."
    }
    assert {(one.supported, one.contradicted, one.not_mentioned) for one in found.sources} == {SUPPORTED}
    assert found.checked_by == "verifier abc"


@pytest.mark.parametrize(
    ("output", "reader", "reason"),
    [
        ("Cough for three weeks.", ScriptedReader(CONTRARY), CONTRADICTED),
        ("Cough for three weeks.", ScriptedReader(ABSENT), UNSUPPORTED),
        ("Cough for three weeks.", ScriptedReader((MIN_SUPPORT - 0.01, 0.1, 0.41)), UNSUPPORTED),
        ("Cough for three weeks.", ScriptedReader((float("nan"),) * 3), UNSUPPORTED),
        ("Cough for three weeks.", ScriptedReader(evidence=""), NO_SOURCE),
        ("Cough for three weeks.", ScriptedReader(evidence="A line of another report."), NO_SOURCE),
        ("Takes 40 mg of lisinopril.", ScriptedReader(), f"{RULE}numbers"),
        ("The right knee is swollen.", ScriptedReader(), f"{RULE}sides"),
        ("Cough. Takes 20 mg of metformin.", ScriptedReader(), f"{RULE}medications"),
        ("...", ScriptedReader(), UNREADABLE),
        ("Cough for three weeks. 咳嗽三周。", ScriptedReader(), UNREADABLE),
    ],
)
def test_a_sentence_without_support_drops_the_draft(output: str, reader: ScriptedReader, reason: str) -> None:
    """The gate: neither the verifier's doubt nor a rule may be outvoted."""
    assert check(output, reader=reader).dropped == reason


def test_one_bad_sentence_among_good_ones_drops_the_draft() -> None:
    found = check("Cough for three weeks. Takes 40 mg of lisinopril. The left knee is swollen.")
    assert found.dropped == f"{RULE}numbers"
    assert [one.veto for one in found.sources] == ["", "numbers", ""]


def test_a_question_that_asserts_what_the_input_lacks_drops_its_answer() -> None:
    """ "Why does the patient take 80 mg?" teaches the 80 mg, whatever the answer says."""
    assert check("Takes lisinopril.", question="Why is the dose of lisinopril 80 mg?").dropped == UNFOUNDED_QUESTION
    assert check("Takes lisinopril.", question="Which medicine does the patient take?").dropped is None


def test_statements_are_placed_across_lines_and_list_numbers() -> None:
    text = "1. No fever;\n2. Left\tknee pain.\n\nSaw Dr. Example."
    assert [text[start:end] for start, end in place_statements(text)] == [
        "No fever;",
        "Left\tknee pain.",
        "Saw Dr. Example.",
    ]


def test_the_shipped_verifier_finds_the_source_and_the_error() -> None:
    """With the real network: a sentence of the report passes, its contrary does not."""
    drafts = [draft("The patient takes 20 mg of lisinopril."), draft("The patient has no cough.")]
    right, wrong = check_drafts(drafts, open_verifier("", 1), CHECKS, describe_check(), ignore_progress)
    assert right.dropped is None
    (source,) = right.sources
    assert INPUT[source.source_start : source.source_end] == "Takes 20 mg of lisinopril."
    assert wrong.dropped is not None


def test_the_shipped_verifier_is_usable() -> None:
    assert find_verifier_failure() is None


@pytest.mark.parametrize(
    "measured",
    [
        [],
        [{"kind": "dose", "auroc": 0.9, "blind_auroc": 0.5, "wrong": 9}],
        [{"kind": "all", "auroc": 0.79, "blind_auroc": 0.5, "wrong": 9}],
        [{"kind": "all", "auroc": 0.9, "blind_auroc": 0.7, "wrong": 9}],
        [{"kind": "all", "auroc": None, "blind_auroc": 0.5, "wrong": 9}],
    ],
)
def test_a_verifier_without_a_sufficient_measurement_is_not_usable(
    tmp_path: Path, measured: list[dict[str, Any]]
) -> None:
    """A gate without its evidence stays closed."""
    for name in (WEIGHTS_FILE, LEAKAGE_FILE):
        shutil.copy(SHIPPED_FOLDER / name, tmp_path / name)
    (tmp_path / CARD_FILE).write_text(json.dumps({"measured": measured}))
    assert find_verifier_failure(tmp_path) is not None


def test_a_folder_without_weights_is_not_usable(tmp_path: Path) -> None:
    assert find_verifier_failure(tmp_path) is not None
