"""Which drafts the verifier checks, and what its result changes."""

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa

from fine_tune_assets.approval.draft_generation import Completion, Prompt, build_model_draft, write_drafts
from fine_tune_assets.approval.draft_questions import NO_ANSWER, NO_QUESTION, REPEATED_QUESTION
from fine_tune_assets.approval.draft_sources import count_dropped, count_unchecked, record_checks, select_unchecked
from fine_tune_assets.approval.task_kinds import DraftRequest
from fine_tune_assets.tables.approval_rows import DraftCheck, ModelDraft
from fine_tune_assets.tables.record_classes import iter_records, table_from_records
from fine_tune_assets_tests.approval.examples import supported

REQUEST = DraftRequest("r1", "b/1", "p", "summary", "Summarize.", "Takes 20 mg.", 8)
ASKED = replace(REQUEST, request_fingerprint="r2", questions=3)
VERIFIER = "verifier abc, support from 0.5"


def rows(*drafts: ModelDraft) -> pa.Table:
    return table_from_records(ModelDraft, drafts)


def answers(*replies: str | None) -> list[ModelDraft]:
    """The rows of ASKED if the model replies in this order."""
    left = iter(replies)

    def complete(prompts: Sequence[Prompt]) -> list[Completion | None]:
        found = [next(left) for _ in prompts]
        return [None if text is None else Completion(text, True) for text in found]

    return write_drafts([ASKED], complete, "abc")


def test_questions_become_rows_and_drops_are_counted() -> None:
    """A request whose questions all failed must not be written again in every run."""
    found = answers(
        "1. Which dose is it?\n2. What dose is it?\n3. Who takes it?", "It is 20 mg.", "The text does not say."
    )
    assert {one.number: (one.instruction, one.output, one.dropped) for one in found} == {
        1: ("Which dose is it?", "It is 20 mg.", None),
        2: ("What dose is it?", "", REPEATED_QUESTION),
        3: ("Who takes it?", "The text does not say.", NO_ANSWER),
    }
    assert count_dropped(rows(*found)) == {REPEATED_QUESTION: 1, NO_ANSWER: 1}
    (none,) = answers("I can't help with that.")
    assert (none.number, none.dropped) == (0, NO_QUESTION)
    assert [one.dropped for one in answers("1. Which dose is it?", None)] == [NO_ANSWER]
    assert answers(None) == []


def test_the_answer_is_asked_for_with_the_question_and_the_text() -> None:
    """The stored instruction is the question alone, as users will ask it."""
    prompts: list[Prompt] = []

    def complete(asked: Sequence[Prompt]) -> list[Completion]:
        prompts.extend(asked)
        return [Completion("1. Which dose is it?", True) for _ in asked]

    (found,) = write_drafts([ASKED], complete, "abc")
    assert found.instruction == "Which dose is it?"
    assert prompts[0].instruction.startswith("Summarize.")
    assert prompts[1].instruction.startswith("Which dose is it?\n")
    assert {prompt.input for prompt in prompts} == {ASKED.input}


def test_a_draft_is_checked_until_it_passes_and_then_kept() -> None:
    """A new verifier may release a draft, but must not withdraw one that an expert approved."""
    new = build_model_draft(REQUEST, "Takes 20 mg.", True, "abc")
    passed = supported(replace(new, request_fingerprint="r2", number=1, instruction="Which dose?"))
    dropped = replace(passed, number=2, dropped="contradicted by the input")
    empty = build_model_draft(replace(REQUEST, request_fingerprint="r2"), "", True, "abc")
    written = rows(new, passed, dropped, empty)
    assert [(one.request_fingerprint, one.number) for one in select_unchecked([REQUEST, ASKED], written, VERIFIER)] == [
        ("r1", 0)
    ]
    (first, again) = select_unchecked([REQUEST, ASKED], written, "verifier def, support from 0.5")
    assert (first.question, first.input, first.output) == ("", REQUEST.input, "Takes 20 mg.")
    assert (again.number, again.question) == (2, "Which dose?")
    assert select_unchecked([], written, VERIFIER) == []


def test_a_check_is_recorded_at_its_draft_only() -> None:
    one, other = (build_model_draft(REQUEST, text, True, "abc") for text in ("Takes 20 mg.", "Takes 40 mg."))
    written = rows(one, replace(other, number=1))
    assert count_unchecked(written) == 2
    check = DraftCheck(request_fingerprint="r1", number=1, sources=(), checked_by=VERIFIER, dropped="rule: numbers")
    first, second = iter_records(ModelDraft, record_checks(written, [check]))
    assert (first.checked_by, first.is_supported) == (None, False)
    assert (second.checked_by, second.dropped, second.is_supported) == (VERIFIER, "rule: numbers", False)
    assert count_unchecked(rows(first, second)) == 1
