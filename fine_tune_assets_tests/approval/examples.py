"""Reports, drafts and decisions shared by the tests of this package."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from fine_tune_assets.approval.approvals import Approval, approve_examples
from fine_tune_assets.approval.drafts import content_fingerprint, draft_examples
from fine_tune_assets.approval.task_kinds import ReportText, SectionRules, read_section_rules
from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.core.shared_records import Decision
from fine_tune_assets.recipes.schema import ReviewSettings, SectionTask, Task
from fine_tune_assets.tables.approval_rows import DraftedExample, ModelDraft, SentenceSource
from fine_tune_assets.tables.correction_rows import ScrubbedCorrection
from fine_tune_assets.tables.dedup_rows import UniqueReport
from fine_tune_assets.tables.record_classes import iter_records, table_from_rows
from fine_tune_assets_tests.clinical_domain import PACK, SECTION_NAMES

START = datetime(2026, 1, 1, tzinfo=UTC)
PLAN = SectionTask("plan", "Write the plan.", ("FINDINGS",), "PLAN")
TRUSTED = {"clinic": "Experts of the clinic"}
ONE = ReviewSettings(reviewers=1, own_edits="allow", agreement_floor=None, minimum_pairs=2, assignment_minutes=30)
TWO = replace(ONE, reviewers=2, own_edits="second_person")


def reports(*texts: str, source: str = "clinic") -> pa.Table:
    rows = [
        {
            "report_id": f"b/{number}",
            "batch": "b",
            "source": source,
            "subject_key": f"patient{number}",
            "text": text,
            "fingerprint": fingerprint_text(text),
        }
        for number, text in enumerate(texts, start=1)
    ]
    return table_from_rows(rows, UniqueReport.SCHEMA)


def section_rules(unique: pa.Table, *tasks: Task) -> SectionRules:
    return read_section_rules(lambda: iter_records(ReportText, unique), tasks, SECTION_NAMES)


def corrections(*authors: str) -> pa.Table:
    rows = [
        {
            "correction_id": f"c{number}",
            "release_id": "r",
            "author": author,
            "subject_key": f"user{number}",
            "instruction": "Which dose?",
            "input": "",
            "output": "Ask the pharmacist.",
        }
        for number, author in enumerate(authors, start=1)
    ]
    return table_from_rows(rows, ScrubbedCorrection.SCHEMA)


def drafts(source: str = "clinic", authors: tuple[str, ...] = ()) -> pa.Table:
    """One draft of a report, and one of each author's correction."""
    return draft_examples(
        reports("FINDINGS\nSprain.\nPLAN\nRest.", source=source), corrections(*authors), [PLAN], pack=PACK
    )


def draft_of(**fields: Any) -> DraftedExample:
    """A draft with only these fields set."""
    empty = dict.fromkeys(DraftedExample.SCHEMA.names, "")
    return DraftedExample.from_row({**empty, "flags": (), "needs_review": None, **fields})


def drafted(table: pa.Table) -> list[DraftedExample]:
    """The records of a table of drafts."""
    return list(iter_records(DraftedExample, table))


def decide(
    draft: DraftedExample, decision: str, minute: int = 0, reviewer: str = "reviewer", output: str | None = None
) -> Decision:
    return Decision(
        decision_id=f"d{minute}",
        example_id=draft.example_id,
        fingerprint=draft.fingerprint,
        report_id=draft.report_id,
        task=draft.task,
        decision=decision,  # type: ignore[arg-type]
        output=output,
        reviewer=reviewer,
        decided_at=START + timedelta(minutes=minute),
        approved_fingerprint=None if output is None else content_fingerprint(draft.instruction, draft.input, output),
    )


def approve(
    drafted: pa.Table,
    decisions: Sequence[Decision],
    trusted_sources: Mapping[str, str],
    authors: Mapping[str, str] | None = None,
    rules: ReviewSettings = ONE,
) -> Approval:
    """`approve_examples` with the rule of one reviewer."""
    return approve_examples(drafted, decisions, trusted_sources, rules, authors)


def supported(draft: ModelDraft) -> ModelDraft:
    """The draft after a check that found a source for its only sentence."""
    source = SentenceSource(
        start=0,
        end=len(draft.output),
        source_start=0,
        source_end=1,
        supported=0.9,
        contradicted=0.05,
        not_mentioned=0.05,
        veto="",
    )
    return replace(draft, sources=(source,), checked_by="verifier abc, support from 0.5")
