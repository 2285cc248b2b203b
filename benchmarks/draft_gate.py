"""Measures the check of model-written drafts on texts that the verifier was not trained on, next to the rules alone.

Planted errors: one sentence of a human note, next to its dialogue, right or with one error. Rated summaries: written by models,
with clinicians' counts of wrong facts; they also give the effort per approved example.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fine_tune_assets.approval.draft_checks import check_output
from fine_tune_assets.approval.draft_generation import write_with_model
from fine_tune_assets.approval.draft_sources import count_dropped, record_checks, select_unchecked
from fine_tune_assets.approval.task_kinds import DraftRequest
from fine_tune_assets.claims.grounding_checks import GROUNDING_CHECKS
from fine_tune_assets.core.fingerprints import fingerprint_folder
from fine_tune_assets.core.paths import PACKAGE_DIR
from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.judging.evaluation.draft_support import MIN_SUPPORT, check_drafts, describe_check
from fine_tune_assets.judging.judges.labelled_sets import read_rated_summaries
from fine_tune_assets.judging.judges.planted_errors.error_plants import PLANTS
from fine_tune_assets.judging.judges.planted_errors.planted_error_set import OTHER_SUBJECT
from fine_tune_assets.judging.judges.verifier.record_passages import split_statements
from fine_tune_assets.judging.judges.verifier.training_data.balanced_pairs import Report
from fine_tune_assets.judging.judges.verifier.training_reports import read_reports
from fine_tune_assets.judging.judges.verifier.verifier_reader import VerifierReader
from fine_tune_assets.tables.approval_rows import CheckableDraft, DraftCheck

CHECKS = tuple(GROUNDING_CHECKS)
DATA = PACKAGE_DIR.parent / "data"
UNSEEN = DATA / "verifier_training" / "mts_dialog_unseen.jsonl.gz"
RATED = DATA / "evaluation" / "judge" / "rated_summaries.csv"
RIGHT = "none"
"""Kind of a draft without a planted error."""
SUPPORTS = (0.06, 0.1, 0.2, 0.3, 0.5, 0.7)
MIN_FOREIGN_WORDS = 5
NOTE_WORDS = (40, 150)
"""Length of the notes about which a model writes questions."""
ABOUT, SYSTEM, ANSWER_TOKENS = (
    "Ask about complaints, findings and treatment.",
    "You are a careful clinical assistant.",
    60,
)
ACTIONS_TO_APPROVE = 2
"""Open the dialog and sign, besides one tick per flag (`desk/templates/decision_dialogs.html`)."""
ACTIONS_TO_REJECT = 3
"""Open the dialog, choose the reason and sign."""


@dataclass(frozen=True)
class Case:
    """A draft whose truth is known."""

    kind: str
    draft: CheckableDraft

    @property
    def is_right(self) -> bool:
        return self.kind == RIGHT


@dataclass(frozen=True)
class Result:
    case: Case
    check: DraftCheck

    @property
    def is_stopped_by_rules(self) -> bool:
        """Today's flags, as a gate."""
        return bool(check_output(self.case.draft.output, self.case.draft.input, CHECKS))

    @property
    def is_stopped_by_verifier(self) -> bool:
        return self.is_stopped_at(MIN_SUPPORT)

    @property
    def is_stopped(self) -> bool:
        """By the gate: verifier and rules."""
        return self.check.dropped is not None

    def is_stopped_at(self, support: float) -> bool:
        """By the verifier alone, with another threshold."""
        sources = self.check.sources
        return not sources or any(one.source_start is None or not one.supported >= support for one in sources)

    def is_stopped_by_both_at(self, support: float) -> bool:
        return self.is_stopped_by_rules or self.is_stopped_at(support)


def measure_gate(size: int, verifier: Path, threads: int, seed: int) -> dict[str, Any]:
    """`size`: reports and rated summaries to read; 0 for all."""
    reader = VerifierReader(verifier, threads)
    reports = read_reports([UNSEEN])[: size or None]
    planted = run([*plant_errors(reports, seed)], reader, verifier)
    notes = run([Case(RIGHT, make_draft(one.record, one.note)) for one in reports], reader, verifier)
    rated = run(list(rated_cases())[: size or None], reader, verifier)
    return {
        "verifier": describe_check(verifier),
        "reports": len(reports),
        "planted": count_by_kind(planted),
        "supports": {str(support): _measure_support(planted, rated, support) for support in SUPPORTS},
        "whole notes": count_by_kind(notes),
        "rated summaries": count_by_kind(rated),
        "effort": measure_effort(rated),
    }


def _measure_support(planted: Sequence[Result], rated: Sequence[Result], support: float) -> dict[str, dict[str, float]]:
    return {
        "verifier": shares(planted, lambda one: one.is_stopped_at(support)),
        "both": shares(planted, lambda one: one.is_stopped_by_both_at(support)),
        "both, rated": shares(rated, lambda one: one.is_stopped_by_both_at(support)),
    }


def measure_yield(model: Path, verifier: Path, notes: int, questions: int, threads: int) -> dict[str, int]:
    """What becomes of the questions that a model in a local folder writes about human notes: drafts, and drops by reason."""
    found = [one for one in read_reports([UNSEEN]) if NOTE_WORDS[0] <= len(one.note.split()) <= NOTE_WORDS[1]][:notes]
    requests = [
        DraftRequest(str(row), str(row), one.subject, "questions", ABOUT, one.note, ANSWER_TOKENS, questions)
        for row, one in enumerate(found)
    ]
    written = write_with_model(requests, model, fingerprint_folder(model), SYSTEM, threads, ignore_progress)
    checked_by = describe_check(verifier)
    unchecked = select_unchecked(requests, written, checked_by)
    checks = check_drafts(unchecked, VerifierReader(verifier, threads), CHECKS, checked_by, ignore_progress)
    table = record_checks(written, checks)
    dropped = dict(sorted(count_dropped(table).items()))
    return {
        "notes": len(found),
        "requested": len(found) * questions,
        **dropped,
        "pass": table.num_rows - sum(dropped.values()),
    }


def run(cases: Sequence[Case], reader: VerifierReader, verifier: Path) -> list[Result]:
    checks = check_drafts([case.draft for case in cases], reader, CHECKS, describe_check(verifier), ignore_progress)
    return [Result(case, check) for case, check in zip(cases, checks, strict=True)]


def make_draft(record: str, output: str) -> CheckableDraft:
    return CheckableDraft(request_fingerprint="", number=0, question="", input=record, output=output)


def plant_errors(reports: Sequence[Report], seed: int) -> Iterator[Case]:
    """Each statement of a note as a separate draft, right and with each error that can be planted in it."""
    for place, report in enumerate(reports):
        statements = [one for one in split_statements(report.note) if one in report.note]
        for number, statement in enumerate(statements):
            yield Case(RIGHT, make_draft(report.record, statement))
            for name, (plant, _) in PLANTS.items():
                wrong = plant(statement, random.Random(f"{seed} {place} {number}"))
                if wrong is not None and wrong != statement:
                    yield Case(name, make_draft(report.record, wrong))
        other = reports[(place + 1 + random.Random(seed + place).randrange(max(1, len(reports) - 1))) % len(reports)]
        foreign = [one for one in split_statements(other.note) if len(one.split()) >= MIN_FOREIGN_WORDS]
        if other.subject != report.subject and foreign:
            yield Case(OTHER_SUBJECT, make_draft(report.record, random.Random(seed + place).choice(foreign)))


def rated_cases() -> Iterator[Case]:
    """Summaries written by models: right if clinicians found every fact of them in the dialogue."""
    for row in read_rated_summaries(RATED).rows:
        kind = RIGHT if row.ratings["FactualPrecision"] == 1 else "wrong fact"
        yield Case(kind, make_draft(row.answered.input, row.answered.output))


def count_by_kind(results: Sequence[Result]) -> dict[str, dict[str, int]]:
    """Kind → drafts, and those stopped by the rules, the verifier, and both."""
    kinds = dict.fromkeys(result.case.kind for result in results)
    return {kind: _count([result for result in results if result.case.kind == kind]) for kind in kinds}


def _count(results: Sequence[Result]) -> dict[str, int]:
    return {
        "drafts": len(results),
        "rules": sum(one.is_stopped_by_rules for one in results),
        "verifier": sum(one.is_stopped_by_verifier for one in results),
        "both": sum(one.is_stopped for one in results),
    }


def shares(results: Sequence[Result], is_stopped: Callable[[Result], bool]) -> dict[str, float]:
    """Share of the errors and of the right drafts that are stopped."""
    right, wrong = ([one for one in results if one.case.is_right is kind] for kind in (True, False))
    return {
        name: round(sum(map(is_stopped, of)) / len(of), 3) for name, of in (("errors", wrong), ("right", right)) if of
    }


def measure_effort(results: Sequence[Result]) -> dict[str, dict[str, float]]:
    """Actions and words per approved example, if reviewers approve the right drafts and reject the others.

    Without the gate, every draft is reviewed next to its whole input; with it, only drafts that passed, next to their sources.
    """
    passed = [result for result in results if not result.is_stopped]
    return {
        "every draft, whole input": _effort(results, _count_input_words),
        "drafts that pass, whole input": _effort(passed, _count_input_words),
        "drafts that pass, highlighted sources": _effort(passed, count_source_words),
    }


def _effort(results: Sequence[Result], count_words: Callable[[Result], int]) -> dict[str, float]:
    approved = sum(result.case.is_right for result in results)
    # Each draft of a model has the flag `model-written`.
    flags = sum(
        1 + len(check_output(one.case.draft.output, one.case.draft.input, CHECKS))
        for one in results
        if one.case.is_right
    )
    actions = ACTIONS_TO_APPROVE * approved + flags + ACTIONS_TO_REJECT * (len(results) - approved)
    words = sum(len(one.case.draft.output.split()) + count_words(one) for one in results)
    if not approved:
        return {"reviewed": len(results), "approved": 0}
    return {
        "reviewed": len(results),
        "approved": approved,
        "actions per approved": round(actions / approved, 2),
        "words per approved": round(words / approved, 1),
    }


def _count_input_words(result: Result) -> int:
    return len(result.case.draft.input.split())


def count_source_words(result: Result) -> int:
    """Words of the highlighted lines, each once."""
    covered = {
        at
        for one in result.check.sources
        if one.source_start is not None and one.source_end is not None
        for at in range(one.source_start, one.source_end)
    }
    text = result.case.draft.input
    return len("".join(text[at] if at in covered else " " for at in range(len(text))).split())
