"""Drafts examples from reports, by a recipe's tasks, and from users' corrections.

`task_kinds` builds instruction, input and output. Each draft gets flags for the reviewer and a fingerprint for its approval.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial

import pyarrow as pa

from fine_tune_assets.approval.draft_checks import check_output, cross_check_drafts, find_standard_phrases
from fine_tune_assets.approval.dropped_reports import DroppedReports, flag_contradicted_drafts, read_dropped_partners
from fine_tune_assets.approval.flags import FLAG_KINDS, distinct_kinds
from fine_tune_assets.approval.task_kinds import (
    MODEL_DRAFTED,
    ReportText,
    SectionRules,
    UncheckedDraft,
    draft_reports,
    read_section_rules,
)
from fine_tune_assets.claims.statements import normalize_text
from fine_tune_assets.core.fingerprints import fingerprint_json, short
from fine_tune_assets.core.prompts.retrieval_contract import add_passages_to_example, parse_passages
from fine_tune_assets.core.shared_records import PairFinder
from fine_tune_assets.recipes.domain_packs import LoadedPack
from fine_tune_assets.recipes.schema import Task
from fine_tune_assets.tables.approval_rows import DraftedExample, ModelDraft
from fine_tune_assets.tables.correction_rows import ScrubbedCorrection
from fine_tune_assets.tables.dedup_rows import UniqueReport
from fine_tune_assets.tables.record_classes import check_table, iter_records, table_from_records

CORRECTION = "correction"
"""Source of drafts from users' corrections; also their task if their instruction belongs to no task."""
CORRECTION_WITH_PASSAGES = "correction with passages"
"""`drafted_by` of drafts that put the passages of the corrected answer before the question."""


def content_fingerprint(instruction: str, input_text: str, output: str) -> str:
    """The fingerprint that an approval is bound to: any change makes another example."""
    return fingerprint_json({"instruction": instruction, "input": input_text, "output": output})


def identical_case_key(task: str, source: str, instruction: str, output: str, flags: Collection[str]) -> str:
    """Equal for drafts that differ only in their input, which reviewers may decide together; empty for corrections, which they
    may not."""
    return "" if source == CORRECTION else fingerprint_json([task, instruction, output, sorted(flags)])


def draft_examples(
    unique: pa.Table,
    corrections: pa.Table,
    tasks: Sequence[Task],
    model_drafts: pa.Table | None = None,
    *,
    pack: LoadedPack,
    rules: SectionRules | None = None,
    reviewed_flags: Collection[str] = FLAG_KINDS,
    find_pairs: PairFinder | None = None,
    dropped_reports: DroppedReports | None = None,
    passage_template: str | None = None,
) -> pa.Table:
    """Build `drafted_examples` from unique reports and scrubbed corrections, sorted by example id.

    `pack` is the domain pack: its section names, and the facts that are looked up in the input. `rules` split the reports; None
    reads them from `unique`. `model_drafts` are the existing `ModelDraft` rows; those without a source for every sentence make
    no draft. Flags in `reviewed_flags` require a reviewer. `find_pairs` finds near-identical inputs; without it only equal inputs
    are compared. `dropped_reports` are the duplicates excluded from `unique`; drafts that they contradict are flagged too.
    `passage_template` puts the passages of a corrected answer before its question, as the gateway does; None omits them.
    """
    check_table(unique, UniqueReport.SCHEMA)
    check_table(corrections, ScrubbedCorrection.SCHEMA)
    read = partial(iter_records, ReportText, unique)
    rules = read_section_rules(read, tasks, pack.section_names) if rules is None else rules
    outputs = [] if model_drafts is None else list(iter_records(ModelDraft, model_drafts))
    halves = {} if dropped_reports is None else read_dropped_partners(dropped_reports, tasks)
    checks = pack.pack.checks
    drafts = [_make_draft(drafted, checks) for drafted in draft_reports(read, tasks, outputs, rules, halves)]
    task_of = make_task_lookup(tasks)
    found = iter_records(ScrubbedCorrection, corrections)
    drafts += [_draft_correction(correction, task_of, passage_template, checks) for correction in found]
    # Sorted by content, so that the table does not depend on the order of reports.
    drafts.sort(key=lambda draft: draft.example_id)
    across, standard = cross_check_drafts(drafts, find_pairs, checks), find_standard_phrases(drafts)
    by_dropped = {} if dropped_reports is None else flag_contradicted_drafts(dropped_reports, tasks, rules, pack)
    always = {*reviewed_flags, MODEL_DRAFTED}

    def flagged(draft: DraftedExample) -> DraftedExample:
        others = (*across.get(draft.example_id, ()), *by_dropped.get((draft.report_id, draft.task), ()))
        flags = (*draft.flags, *others)
        kinds = {*distinct_kinds(flags), *(["label noise"] if draft.example_id in standard else [])}
        return replace(draft, flags=flags, needs_review=not always.isdisjoint(kinds))

    return table_from_records(DraftedExample, map(flagged, drafts))


def make_task_lookup(tasks: Sequence[Task]) -> Callable[[str], str]:
    """Lookup of a correction's task by its instruction, ignoring case, punctuation and spaces."""
    names = {normalize_text(task.instruction): task.name for task in tasks if task.instruction}
    return lambda instruction: names.get(normalize_text(instruction), CORRECTION)


def correction_report_id(correction_id: str) -> str:
    return f"{CORRECTION}/{correction_id}"


def correction_authors(corrections: pa.Table) -> dict[str, str]:
    """`report_id` of a correction's draft → author of the correction, who can't approve it."""
    ids, authors = (corrections.column(name).to_pylist() for name in ("correction_id", "author"))
    return dict(zip(map(correction_report_id, ids), authors, strict=True))


def build_correction_prompt(correction: ScrubbedCorrection, passage_template: str | None) -> tuple[str, str]:
    """Instruction and input of the example for a scrubbed correction."""
    if passage_template is None or not correction.passages:
        return correction.instruction, correction.input
    passages = parse_passages(map(vars, correction.passages))
    return add_passages_to_example(correction.instruction, correction.input, passages, passage_template)


def _draft_correction(
    correction: ScrubbedCorrection,
    task_of: Callable[[str], str],
    passage_template: str | None,
    checks: Collection[str],
) -> DraftedExample:
    plain_prompt = (correction.instruction, correction.input)
    instruction, input_text = build_correction_prompt(correction, passage_template)
    return _make_draft(
        UncheckedDraft(
            report_id=correction_report_id(correction.correction_id),
            source=CORRECTION,
            subject_key=correction.subject_key,
            task=task_of(correction.instruction),
            instruction=instruction,
            input=input_text,
            output=correction.output,
            drafted_by=CORRECTION if (instruction, input_text) == plain_prompt else CORRECTION_WITH_PASSAGES,
        ),
        checks,
    )


def _make_draft(drafted: UncheckedDraft, checks: Collection[str]) -> DraftedExample:
    fingerprint = content_fingerprint(drafted.instruction, drafted.input, drafted.output)
    # The instruction may also state a number or a side.
    unsupported = check_output(drafted.output, f"{drafted.instruction}\n{drafted.input}", checks)
    return DraftedExample(
        example_id=short(fingerprint_json([drafted.report_id, drafted.task, fingerprint])),
        report_id=drafted.report_id,
        source=drafted.source,
        subject_key=drafted.subject_key,
        task=drafted.task,
        instruction=drafted.instruction,
        input=drafted.input,
        output=drafted.output,
        drafted_by=drafted.drafted_by,
        flags=(*drafted.flags, *unsupported),
        needs_review=None,
        fingerprint=fingerprint,
        sources=drafted.sources,
        checked_by=drafted.checked_by,
    )
