"""Stage 4: drafts, and what people decided about them.

Belongs here: drafting, the decisions in the ledger as an external asset, and applying them. Must stay out: who may decide.
"""

from collections import Counter
from collections.abc import Mapping
from functools import partial

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.approval.approving import approve_examples
from fine_tune_assets.approval.drafting import correction_authors, draft_examples, reports_without_draft, rows_of
from fine_tune_assets.approval.task_kinds import count_unused
from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.defs.automation import with_new_inputs
from fine_tune_assets.defs.metadata import OWNERS, definition_metadata, markdown_table, result
from fine_tune_assets.defs.resources import Installation, errors_for_people
from fine_tune_assets.defs.s02_missed_identifiers import missed_identifiers, terms_of
from fine_tune_assets.defs.sources import recipe_section
from fine_tune_assets.ledger.reviews import list_decisions
from fine_tune_assets.phi.missed_terms import holds_missed_terms

GROUP = "s04_approved_examples"

expert_decisions = dg.AssetSpec(
    "expert_decisions",
    group_name=GROUP,
    description="What experts approved, repaired or rejected. Kept in the ledger; each decision names its reviewer.",
    owners=OWNERS["clinical"],
    kinds={"sqlite"},
)


@dg.asset(
    group_name=GROUP,
    code_version="2",  # who drafted it is a column
    deps=[recipe_section("tasks")],
    automation_condition=with_new_inputs(),
    description="Instruction, input and draft output made from each report by the recipe's tasks, and from corrections.",
    owners=OWNERS["clinical"],
    kinds={"parquet"},
    metadata=definition_metadata("drafted_examples"),
)
def drafted_examples(
    installation: Installation, unique_reports: pa.Table, scrubbed_corrections: pa.Table, model_drafts: pa.Table
) -> dg.MaterializeResult[pa.Table]:
    tasks = installation.recipe.tasks
    with errors_for_people():
        drafts = draft_examples(unique_reports, scrubbed_corrections, tasks, model_drafts)
        unused = count_unused(partial(rows_of, unique_reports), tasks)
    flags = drafts.column("flags").to_pylist()
    by_kind = Counter(kind for of_draft in flags for kind in {flag.partition(": ")[0] for flag in of_draft})
    return result(
        "drafted_examples",
        drafts,
        fingerprint_table(drafts),
        flagged=sum(bool(of_draft) for of_draft in flags),
        by_flag=dg.MetadataValue.md(_counts("flag", by_kind)),
        by_task=dg.MetadataValue.md(_counts("task", Counter(drafts.column("task").to_pylist()))),
        reports_without_draft=len(reports_without_draft(unique_reports, drafts)),
        lab_lines_not_read=sum(unused.unread_lab_lines.values()),
        reports_without_partner=sum(unused.without_partner.values()),
    )


def _counts(name: str, counts: Mapping[str, int]) -> str:
    return markdown_table([{name: key, "drafts": count} for key, count in sorted(counts.items())])


@dg.asset(
    group_name=GROUP,
    deps=[expert_decisions, missed_identifiers, recipe_section("trusted_sources")],
    automation_condition=with_new_inputs(),
    description="The examples that an expert approved, or that come from a source which the recipe trusts. All others wait.",
    owners=OWNERS["clinical"],
    kinds={"parquet"},
    metadata=definition_metadata("approved_examples"),
)
def approved_examples(
    installation: Installation, drafted_examples: pa.Table, scrubbed_corrections: pa.Table
) -> dg.MaterializeResult[pa.Table]:
    with errors_for_people(), installation.ledger() as ledger:
        approval = approve_examples(
            drafted_examples,
            list_decisions(ledger),
            installation.recipe.trusted_sources,
            authors=correction_authors(scrubbed_corrections),
        )
        # Also what a reviewer typed into a repaired output: nobody scrubs that.
        texts = [approval.approved[name] for name in ("instruction", "input", "output")]
        held_back = holds_missed_terms(approval.approved["patient_key"], texts, terms_of(installation))
        approved = approval.approved.filter(pc.invert(held_back))
    return result(
        "approved_examples",
        approved,
        fingerprint_table(approved),
        waiting_for_review=approval.waiting,
        rejected=approval.rejected,
        decisions_about_older_drafts=approval.stale_decisions,
        decisions_that_do_not_count=approval.barred_decisions,
        held_back=approval.approved.num_rows - approved.num_rows,
    )
