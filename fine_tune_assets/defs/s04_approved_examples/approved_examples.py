"""Stage 4: drafts, and what people decided about them.

Belongs here: drafting, the decisions in the ledger as an external asset, and applying them. Must stay out: who may decide.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.approval.agreement import (
    AgreementReport,
    AgreementVerdict,
    count_expert_examples,
    judge_agreement,
    measured,
)
from fine_tune_assets.approval.approvals import approve_examples
from fine_tune_assets.approval.drafts import correction_authors, draft_examples, reports_without_draft
from fine_tune_assets.approval.dropped_reports import DroppedReports, ScrubbedText, halves_of_pairs
from fine_tune_assets.approval.flags import kinds_of
from fine_tune_assets.approval.review_actions import refresh_items
from fine_tune_assets.approval.section_coverage import account_sections
from fine_tune_assets.approval.task_kinds import ReportText, Unused, count_unused
from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.defs.platform.automation import with_new_inputs
from fine_tune_assets.defs.platform.metadata import OWNERS, checked, definition_metadata, markdown_table, result, warned
from fine_tune_assets.defs.platform.pair_finding import near_input_finder
from fine_tune_assets.defs.platform.recipe_sections import recipe_section
from fine_tune_assets.defs.platform.resources import Installation, errors_for_people
from fine_tune_assets.defs.s02_scrubbed_reports.missed_identifiers import READ_FOR_TERMS, missed_identifiers, terms_of
from fine_tune_assets.defs.s10_corrections.quarantine import (
    READ_FOR_BARRED,
    barred_reports,
    waits_for_others,
    without_quarantined,
)
from fine_tune_assets.ledger.reviews.reviews import list_decisions
from fine_tune_assets.phi.missed_identifiers.terms import holds_missed_terms
from fine_tune_assets.tables.records import records_of

GROUP = "s04_approved_examples"
APPROVED_CODE_VERSION = "signed repairs"
"""Named anew when the columns of approved_examples or the rules of approving change: it is then made once more."""

_PARTNERS_SHOWN = 20
_WHY_NOT_WHOLE = (
    "Reports have lines in capitals of which only the form says that they are headings, or headings with text on the same "
    "line. Look at the drafts with the flag `may be cut short`. Real headings belong into the task's `other_headings`; text "
    "after a heading belongs on the next line."
)

_ONLY_READ = (*READ_FOR_TERMS, READ_FOR_BARRED)
"""The tables that `approved_examples` reads to hold examples back. Each new batch or changed document would make it again."""

expert_decisions = dg.AssetSpec(
    "expert_decisions",
    group_name=GROUP,
    description="What experts approved, repaired or rejected. Kept in the ledger; each decision names its reviewer.",
    owners=OWNERS["clinical"],
    kinds={"sqlite"},
)


@dg.asset(
    group_name=GROUP,
    code_version="7",  # a line such as NKDA cuts no section
    deps=["scrubbed_reports", recipe_section("dedup"), recipe_section("passages"), recipe_section("tasks")],
    # `duplicate_reports` holds the fingerprint of each text that is read: what changes a text changes that table first.
    automation_condition=with_new_inputs(untriggered=["scrubbed_reports"]),
    description="Instruction, input and draft output made from each report by the recipe's tasks, and from corrections.",
    owners=OWNERS["clinical"],
    kinds={"parquet"},
    metadata=definition_metadata("drafted_examples"),
)
def drafted_examples(
    installation: Installation,
    unique_reports: pa.Table,
    duplicate_reports: pa.Table,
    scrubbed_corrections: pa.Table,
    quarantined_corrections: pa.Table,
    model_drafts: pa.Table,
) -> dg.MaterializeResult[pa.Table]:
    recipe, authors = installation.recipe, correction_authors(scrubbed_corrections)
    with errors_for_people(), installation.ledger() as ledger:
        dropped = _dropped_reports(installation, duplicate_reports)
        drafts = draft_examples(
            unique_reports,
            without_quarantined(scrubbed_corrections, quarantined_corrections),
            recipe.tasks,
            model_drafts,
            reviewed_flags=recipe.reviewed_flags,
            find_pairs=near_input_finder(installation),
            dropped=dropped,
            passage_template=recipe.passage_template,
        )
        read = partial(records_of, ReportText, unique_reports)
        unused = count_unused(read, recipe.tasks, halves_of_pairs(dropped, recipe.tasks))
        account = account_sections(read, recipe.tasks, drafts)
        queue = refresh_items(
            ledger, drafts, recipe.name, recipe.trusted_sources, recipe.review, authors, datetime.now(UTC)
        )
    flags = drafts.column("flags").to_pylist()
    lost = _partners_dropped(unused, duplicate_reports)
    by_kind = Counter(kind for of_draft in flags for kind in kinds_of(of_draft))
    return result(
        "drafted_examples",
        drafts,
        fingerprint_table(drafts),
        flagged=sum(bool(of_draft) for of_draft in flags),
        needs_review=sum(drafts.column("needs_review").to_pylist()),
        by_flag=_counts("flag", by_kind),
        by_task=_counts("task", Counter(drafts.column("task").to_pylist())),
        reports_without_draft=len(reports_without_draft(unique_reports, drafts)),
        **asdict(account),
        lab_lines_not_read=sum(unused.unread_lab_lines.values()),
        reports_without_partner=sum(unused.without_partner.values()),
        partner_was_dropped=len(lost),
        dropped_partners=markdown_table(lost[:_PARTNERS_SHOWN]),
        new_in_the_queue=queue.arrived + queue.returned,
        gone_from_the_queue=queue.gone,
    )


def _dropped_reports(installation: Installation, duplicates: pa.Table) -> DroppedReports:
    """The reports that stage 3 dropped, without those of erased patients; their scrubbed texts are read in place."""
    erased, scrubbed = installation.erased_patients(), installation.stored("scrubbed_reports")

    def read(report_ids: Collection[str]) -> Sequence[ScrubbedText]:
        by_batch: dict[str, list[str]] = defaultdict(list)
        for report_id in report_ids:
            by_batch[report_id.partition("/")[0]].append(report_id)
        found: list[ScrubbedText] = []
        for batch, ids in sorted(by_batch.items()):
            rows = scrubbed.find("report_id", ids, ScrubbedText.SCHEMA.names, batch=batch)
            found += map(ScrubbedText.of, rows)
        return [report for report in found if report.patient_key not in erased]

    return DroppedReports(duplicates, read)


def _partners_dropped(unused: Unused, duplicates: pa.Table) -> list[dict[str, str]]:
    """Of the reports that are alone those whose other half was dropped, and which report stays in its place. Ids only."""
    kept = dict(zip(*(duplicates[name].to_pylist() for name in ("dropped_id", "kept_id")), strict=True))
    return [
        {"report": report_id, "its other half, dropped": half, "kept instead": kept[half]}
        for report_id, half in unused.alone
        if half in kept
    ]


@dg.asset_check(
    asset="drafted_examples",
    additional_ins={"unique_reports": dg.AssetIn("unique_reports")},
    description="No draft lacks text of its sections: none was cut at a line that may be no heading, and none was overlooked.",
)
def drafts_hold_whole_sections(
    installation: Installation, drafted_examples: pa.Table, unique_reports: pa.Table
) -> dg.AssetCheckResult:
    """A warning: a draft that may be cut short waits for a reviewer, so it is not taught unseen."""
    read = partial(records_of, ReportText, unique_reports)
    account = account_sections(read, installation.recipe.tasks, drafted_examples)
    why = None if account.is_whole else _WHY_NOT_WHOLE
    return warned(account.is_whole, why, **asdict(account))


def _counts(name: str, counts: Mapping[str, int]) -> dg.MarkdownMetadataValue:
    return markdown_table([{name: key, "drafts": count} for key, count in sorted(counts.items())])


@dg.asset(
    group_name=GROUP,
    deps=[
        *_ONLY_READ,
        expert_decisions,
        missed_identifiers,
        *(recipe_section(name) for name in ("trusted_sources", "review", "corrections")),
    ],
    automation_condition=with_new_inputs(untriggered=_ONLY_READ),
    code_version=APPROVED_CODE_VERSION,
    description="The examples that an expert approved, or that come from a source which the recipe trusts. All others wait.",
    owners=OWNERS["clinical"],
    kinds={"parquet"},
    metadata=definition_metadata("approved_examples"),
)
def approved_examples(
    installation: Installation, drafted_examples: pa.Table, scrubbed_corrections: pa.Table
) -> dg.MaterializeResult[pa.Table]:
    with errors_for_people(), installation.ledger() as ledger:
        recipe, authors = installation.recipe, correction_authors(scrubbed_corrections)
        approval = approve_examples(
            drafted_examples, list_decisions(ledger), recipe.trusted_sources, recipe.review, authors
        )
        agreement = measured(ledger)
        # By what is decided now: what came in since the line above makes this asset again.
        refresh_items(
            ledger, drafted_examples, recipe.name, recipe.trusted_sources, recipe.review, authors, datetime.now(UTC)
        )
        # Also what a reviewer typed into a repaired output: nobody scrubs that.
        texts = [approval.approved[name] for name in ("instruction", "input", "output")]
        held_back = holds_missed_terms(approval.approved["patient_key"], texts, terms_of(installation))
        seen = approval.approved.filter(pc.invert(held_back))
        # Asked once more: a document may have been closed since its corrections were examined.
        barred = barred_reports(installation, scrubbed_corrections)
        clean = seen.filter(pa.array([one not in barred for one in seen["report_id"].to_pylist()], pa.bool_()))
        is_waiting = waits_for_others(clean, scrubbed_corrections, recipe.corrections)
        approved = clean.filter(pc.invert(is_waiting))
    return result(
        "approved_examples",
        approved,
        fingerprint_table(approved),
        waiting_for_review=approval.waiting,
        waiting_for_second_reviewer=approval.states.get("second_review", 0),
        waiting_for_adjudicator=approval.states.get("disagreement", 0),
        rejected=approval.rejected,
        decisions_about_older_drafts=approval.stale_decisions,
        decisions_that_do_not_count=approval.barred_decisions,
        decisions_signed_for_other_content=approval.altered_decisions,
        held_back=approval.approved.num_rows - seen.num_rows,
        not_for_everyone=seen.num_rows - clean.num_rows,
        waiting_for_examples_of_others=clean.num_rows - approved.num_rows,
        agreement=_agreement_table(agreement),
    )


@dg.asset_check(
    asset="approved_examples",
    blocking=True,
    description="First and second reviewers, blind to each other, agree as well as the recipe asks; too few pairs prove nothing.",
)
def reviewers_agree(installation: Installation, approved_examples: pa.Table) -> dg.AssetCheckResult:
    with errors_for_people():
        agreement, verdict = _judged_agreement(installation, approved_examples)
    figures = {name: figure for name, figure in vars(agreement.overall).items() if figure not in (None, "")}
    return checked(verdict.passed, verdict.reason, agreement=_agreement_table(agreement), **figures)


def require_reviewers_agree(installation: Installation, approved_examples: pa.Table) -> None:
    """Raise GateClosedError where the check above would not pass: it stops its own run only."""
    _, verdict = _judged_agreement(installation, approved_examples)
    if not verdict.passed:
        raise GateClosedError(f"The reviewers' agreement opens no gate. {verdict.reason}")


def _judged_agreement(
    installation: Installation, approved_examples: pa.Table
) -> tuple[AgreementReport, AgreementVerdict]:
    with installation.ledger() as ledger:
        agreement = measured(ledger)
    by_experts = count_expert_examples(approved_examples)
    return agreement, judge_agreement(agreement.overall, installation.recipe.review, by_experts)


def _agreement_table(report: AgreementReport) -> dg.MarkdownMetadataValue:
    """Figures by task, reviewer and pair of reviewers; a kappa that is not defined is absent."""
    rows = {
        "all": report.overall,
        **{f"task {name}": found for name, found in report.by_task.items()},
        **{f"reviewer {name}": found for name, found in report.by_reviewer.items()},
        **{f"{one} and {other}": found for (one, other), found in report.by_pair.items()},
    }
    return markdown_table([{"of": name, **vars(found)} for name, found in rows.items()])
