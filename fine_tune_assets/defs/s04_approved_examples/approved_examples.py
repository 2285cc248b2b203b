"""Stage 4: drafts examples from reports and corrections, and applies the reviewers' decisions from the ledger."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.approval.approvals import approve_examples
from fine_tune_assets.approval.drafts import correction_authors, draft_examples
from fine_tune_assets.approval.dropped_reports import DroppedReports, ScrubbedText, read_dropped_partners
from fine_tune_assets.approval.flags import distinct_kinds
from fine_tune_assets.approval.review_actions import refresh_items
from fine_tune_assets.approval.reviewer_agreement import (
    AgreementResult,
    AgreementSummary,
    count_expert_examples,
    evaluate_agreement,
    read_agreement,
)
from fine_tune_assets.approval.section_coverage import measure_section_coverage
from fine_tune_assets.approval.task_kinds import ReportText, UnusedInputs, count_unused_inputs, read_section_rules
from fine_tune_assets.approval.undrafted_reports import list_undrafted_reports
from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.defs.platform.automation import with_new_inputs
from fine_tune_assets.defs.platform.column_lineage import source_columns
from fine_tune_assets.defs.platform.cross_group_search import near_input_finder
from fine_tune_assets.defs.platform.metadata import (
    OWNERS,
    bar_table,
    check_result,
    definition_metadata,
    markdown_table,
    table_result,
    warning_result,
)
from fine_tune_assets.defs.platform.recipe_versions import code_version
from fine_tune_assets.defs.platform.resources import Installation, user_facing_errors
from fine_tune_assets.defs.s02_scrubbed_reports.missed_identifiers import (
    flag_marked_texts,
    missed_identifiers,
)
from fine_tune_assets.defs.s04_approved_examples.incoming_corrections import (
    QUARANTINED,
    incoming_corrections,
    read_corrections,
)
from fine_tune_assets.defs.s10_corrections.quarantine import (
    ACCESS_TABLE,
    drop_quarantined,
    exceeds_author_share,
    restricted_reports,
)
from fine_tune_assets.ledger.reviews.decision_records import list_decisions
from fine_tune_assets.tables.approval_rows import UndraftedReport, WithheldExample, WithheldExampleReason
from fine_tune_assets.tables.record_classes import iter_records, table_from_records

GROUP = "s04_approved_examples"
APPROVED_CODE_VERSION = "2"  # adds signed repairs
"""Change this when the columns of approved_examples or the approval rules change, so that the table is rebuilt."""

_MAX_PARTNERS_SHOWN = 20
_INCOMPLETE_SECTIONS = (
    "Some reports have lines that may not be headings, or headings with text on the same line. Review the drafts "
    "with the flag `possibly truncated`. Add real headings to the task's `other_headings`. For text on the line of a heading, "
    "set the task's `inline_headings`."
)

_IGNORED_INPUTS = (ACCESS_TABLE,)
"""Read only to withhold examples: every changed document would trigger `approved_examples`."""

expert_decisions = dg.AssetSpec(
    "expert_decisions",
    group_name=GROUP,
    description="The decisions of experts: approved, repaired or rejected. Stored in the ledger with the reviewer's name.",
    owners=OWNERS["clinical"],
    kinds={"sqlite"},
    metadata=source_columns(
        decision_id="The decision",
        reviewer="Who decided",
        decision="`approve` or `reject`",
        output="The repaired output, if the reviewer changed it",
    ),
)


@dg.asset(
    group_name=GROUP,
    code_version=code_version("dedup", "passages", "tasks", own="9"),  # texts in another language are flagged
    deps=["scrubbed_reports", incoming_corrections],
    # `duplicate_reports` has the fingerprint of each text that is read, so a changed text changes that table first.
    automation_condition=with_new_inputs(ignored=["scrubbed_reports"]),
    description="Instruction, input and draft output from each report, by the recipe's tasks, and from each correction.",
    owners=OWNERS["clinical"],
    kinds={"parquet"},
    metadata=definition_metadata("drafted_examples"),
)
def drafted_examples(
    installation: Installation,
    unique_reports: pa.Table,
    duplicate_reports: pa.Table,
    model_drafts: pa.Table,
) -> dg.MaterializeResult[pa.Table]:
    with user_facing_errors(), installation.ledger() as ledger:
        recipe, pack, corrections = installation.recipe, installation.pack, read_corrections(installation)
        authors, quarantined = correction_authors(corrections), installation.stored(QUARANTINED).table()
        dropped = _dropped_reports(installation, duplicate_reports)
        read = partial(iter_records, ReportText, unique_reports)
        rules = read_section_rules(read, recipe.tasks, pack.section_names)
        drafts = draft_examples(
            unique_reports,
            drop_quarantined(corrections, quarantined),
            recipe.tasks,
            model_drafts,
            pack=pack,
            rules=rules,
            reviewed_flags=recipe.reviewed_flags,
            find_pairs=near_input_finder(installation),
            dropped_reports=dropped,
            passage_template=recipe.passage_template,
        )
        partners = read_dropped_partners(dropped, recipe.tasks)
        unused = count_unused_inputs(read, recipe.tasks, partners)
        coverage = measure_section_coverage(read, recipe.tasks, drafts, rules)
        undrafted = list_undrafted_reports(unique_reports, drafts, model_drafts, recipe.tasks, rules)
        installation.stored("undrafted_reports").write(table_from_records(UndraftedReport, undrafted))
        queue = refresh_items(
            ledger, drafts, recipe.name, recipe.trusted_sources, recipe.review, authors, datetime.now(UTC)
        )
    flags = drafts.column("flags").to_pylist()
    dropped_partners = _dropped_partners(unused, duplicate_reports)
    by_kind = Counter(kind for draft_flags in flags for kind in distinct_kinds(draft_flags))
    return table_result(
        "drafted_examples",
        drafts,
        fingerprint_table(drafts),
        flagged=sum(map(bool, flags)),
        needs_review=sum(drafts.column("needs_review").to_pylist()),
        by_flag=_count_table("flag", by_kind),
        by_task=_count_table("task", Counter(drafts.column("task").to_pylist())),
        reports_without_draft=len(undrafted),
        **asdict(coverage),
        reports_without_partner=sum(unused.without_partner.values()),
        reports_with_dropped_partner=len(dropped_partners),
        dropped_partners=markdown_table(dropped_partners[:_MAX_PARTNERS_SHOWN]),
        queued=queue.added + queue.restored,
        dequeued=queue.removed,
    )


def _dropped_reports(installation: Installation, duplicates: pa.Table) -> DroppedReports:
    """The duplicates that stage 3 dropped, except reports of erased subjects. Scrubbed texts are read on demand."""
    erased, scrubbed = installation.erased_subjects(), installation.stored("scrubbed_reports")

    def read(report_ids: Collection[str]) -> Sequence[ScrubbedText]:
        by_batch: dict[str, list[str]] = defaultdict(list)
        for report_id in report_ids:
            by_batch[report_id.partition("/")[0]].append(report_id)
        found: list[ScrubbedText] = []
        for batch, ids in sorted(by_batch.items()):
            rows = scrubbed.find("report_id", ids, ScrubbedText.SCHEMA.names, batch=batch)
            found += map(ScrubbedText.from_row, rows)
        return [report for report in found if report.subject_key not in erased]

    return DroppedReports(duplicates, read)


def _dropped_partners(unused: UnusedInputs, duplicates: pa.Table) -> list[dict[str, str]]:
    """Unpaired reports whose partner was dropped as a duplicate, with the report kept instead. Ids only."""
    kept_ids = dict(zip(*(duplicates[name].to_pylist() for name in ("dropped_id", "kept_id")), strict=True))
    return [
        {"report": report_id, "dropped partner": partner, "kept instead": kept_ids[partner]}
        for report_id, partner in unused.unpaired_reports
        if partner in kept_ids
    ]


@dg.asset_check(
    asset="drafted_examples",
    additional_ins={"unique_reports": dg.AssetIn("unique_reports")},
    description="Every draft has the complete text of its sections. If not, a line may have been taken for a heading.",
)
def drafts_contain_complete_sections(
    installation: Installation, drafted_examples: pa.Table, unique_reports: pa.Table
) -> dg.AssetCheckResult:
    """Only a warning, since a possibly truncated draft needs a reviewer's approval anyway."""
    read = partial(iter_records, ReportText, unique_reports)
    tasks = installation.recipe.tasks
    rules = read_section_rules(read, tasks, installation.pack.section_names)
    coverage = measure_section_coverage(read, tasks, drafted_examples, rules)
    reason = None if coverage.is_complete else _INCOMPLETE_SECTIONS
    return warning_result(coverage.is_complete, reason, **asdict(coverage))


def _count_table(name: str, counts: Mapping[str, int]) -> dg.MarkdownMetadataValue:
    return markdown_table([{name: key, "drafts": count} for key, count in sorted(counts.items())])


@dg.asset(
    group_name=GROUP,
    deps=[
        *_IGNORED_INPUTS,
        incoming_corrections,
        expert_decisions,
        missed_identifiers,
    ],
    automation_condition=with_new_inputs(ignored=_IGNORED_INPUTS),
    code_version=code_version("trusted_sources", "review", "corrections", own=APPROVED_CODE_VERSION),
    description="Examples that an expert approved, or that come from a trusted source of the recipe. All other drafts wait.",
    owners=OWNERS["clinical"],
    kinds={"parquet"},
    metadata=definition_metadata("approved_examples"),
)
def approved_examples(installation: Installation, drafted_examples: pa.Table) -> dg.MaterializeResult[pa.Table]:
    with user_facing_errors(), installation.ledger() as ledger:
        recipe, corrections = installation.recipe, read_corrections(installation)
        authors = correction_authors(corrections)
        approval = approve_examples(
            drafted_examples, list_decisions(ledger), recipe.trusted_sources, recipe.review, authors
        )
        agreement = read_agreement(ledger)
        # Uses the current decisions. Decisions made since the line above trigger this asset again.
        refresh_items(
            ledger, drafted_examples, recipe.name, recipe.trusted_sources, recipe.review, authors, datetime.now(UTC)
        )
        # Includes text that a reviewer typed into a repaired output, which is not scrubbed.
        texts = [approval.approved[name] for name in ("instruction", "input", "output")]
        is_withheld = flag_marked_texts(installation, approval.approved["subject_key"], texts)
        unmarked = approval.approved.filter(pc.invert(is_withheld))
        # Checked again: access to a document may have been restricted since its corrections were examined.
        restricted = restricted_reports(installation, corrections)
        is_open = pa.array([report not in restricted for report in unmarked["report_id"].to_pylist()], pa.bool_())
        unrestricted = unmarked.filter(is_open)
        is_waiting = exceeds_author_share(unrestricted, corrections, recipe.corrections)
        approved = unrestricted.filter(pc.invert(is_waiting))
        withheld = {
            WithheldExampleReason.MARKED_IDENTIFIER: approval.approved.filter(is_withheld),
            WithheldExampleReason.RESTRICTED_DOCUMENT: unmarked.filter(pc.invert(is_open)),
            WithheldExampleReason.AUTHOR_SHARE: unrestricted.filter(is_waiting),
        }
        rows = [
            WithheldExample(example_id=example_id, reason=reason.value)
            for reason, table in withheld.items()
            for example_id in table["example_id"].to_pylist()
        ]
        installation.stored("withheld_examples").write(table_from_records(WithheldExample, rows))
    return table_result(
        "approved_examples",
        approved,
        fingerprint_table(approved),
        waiting_for_review=approval.waiting,
        waiting_for_second_reviewer=approval.state_counts.get("second_review", 0),
        waiting_for_adjudicator=approval.state_counts.get("disagreement", 0),
        rejected=approval.rejected,
        stale_decisions=approval.stale_decisions,
        ineligible_decisions=approval.ineligible_decisions,
        mismatched_decisions=approval.altered_decisions,
        withheld=withheld[WithheldExampleReason.MARKED_IDENTIFIER].num_rows,
        restricted=withheld[WithheldExampleReason.RESTRICTED_DOCUMENT].num_rows,
        beyond_author_share=withheld[WithheldExampleReason.AUTHOR_SHARE].num_rows,
        by_state=bar_table(
            "drafts",
            {"approved": approved.num_rows, "waiting for review": approval.waiting, "rejected": approval.rejected},
        ),
        agreement=_agreement_table(agreement),
    )


@dg.asset_check(
    asset="approved_examples",
    blocking=True,
    description="Independent first and second reviewers agree at least as well as the recipe requires, on enough pairs.",
)
def reviewer_agreement_meets_floor(installation: Installation, approved_examples: pa.Table) -> dg.AssetCheckResult:
    with user_facing_errors():
        agreement, result = _measure_agreement(installation, approved_examples)
    figures = {name: figure for name, figure in vars(agreement.overall).items() if figure not in (None, "")}
    return check_result(result.is_passed, result.reason, agreement=_agreement_table(agreement), **figures)


def require_reviewer_agreement(installation: Installation, approved_examples: pa.Table) -> None:
    """Raise GateClosedError if the check above fails, since a blocking check stops only its own run."""
    _, result = _measure_agreement(installation, approved_examples)
    if not result.is_passed:
        raise GateClosedError(f"The reviewers' agreement does not meet the recipe's floor. {result.reason}")


def _measure_agreement(
    installation: Installation, approved_examples: pa.Table
) -> tuple[AgreementSummary, AgreementResult]:
    with installation.ledger() as ledger:
        agreement = read_agreement(ledger)
    by_experts = count_expert_examples(approved_examples)
    return agreement, evaluate_agreement(agreement.overall, installation.recipe.review, by_experts)


def _agreement_table(report: AgreementSummary) -> dg.MarkdownMetadataValue:
    """Agreement by task, reviewer and pair of reviewers. An undefined kappa is empty."""
    rows = {
        "all": report.overall,
        **{f"task {name}": found for name, found in report.by_task.items()},
        **{f"reviewer {name}": found for name, found in report.by_reviewer.items()},
        **{f"{one} and {other}": found for (one, other), found in report.by_pair.items()},
    }
    return markdown_table([{"of": name, **vars(found)} for name, found in rows.items()])
