"""Stage 10: quarantines corrections that could poison a training, before they are drafted. `corrections/` has the rules."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

import dagster as dg
import pyarrow as pa

from fine_tune_assets.approval.drafts import CORRECTION, build_correction_prompt, correction_report_id, make_task_lookup
from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.core.shared_records import QuarantineDecision
from fine_tune_assets.corrections.correction_table import over_author_limit
from fine_tune_assets.corrections.quarantine_rules import (
    ACCEPTED,
    BLOCKED,
    PENDING,
    REASONS,
    QuarantineSignals,
    QuarantineState,
    can_be_drafted,
    quarantine_corrections,
)
from fine_tune_assets.corrections.quarantine_signals import (
    ApprovedAnswer,
    CorrectionPassages,
    LabelledSource,
    contradicted_examples,
    count_near_identical,
    count_repeated_sentences,
    find_missing_passages,
    find_restricted_corrections,
    find_restricted_sources,
    nearest_distances,
)
from fine_tune_assets.defs.platform.automation import with_new_inputs
from fine_tune_assets.defs.platform.cross_group_search import count_threads, whole_text_finder
from fine_tune_assets.defs.platform.metadata import OWNERS, definition_metadata, markdown_table, table_result
from fine_tune_assets.defs.platform.recipe_versions import code_version
from fine_tune_assets.defs.platform.resources import Installation, user_facing_errors
from fine_tune_assets.embeddings.encoder import encode_passages
from fine_tune_assets.ledger.reviews.quarantine_decisions import list_quarantine_decisions
from fine_tune_assets.recipes.schema import CorrectionSettings, Recipe
from fine_tune_assets.tables.correction_rows import QuarantinedCorrection, ScrubbedCorrection
from fine_tune_assets.tables.record_classes import Record, iter_records

GROUP = "s10_corrections"
ACCESS_TABLE = "knowledge_chunks"
"""The table in which `restricted_reports` looks up access rights."""

quarantine_decisions = dg.AssetSpec(
    "quarantine_decisions",
    group_name=GROUP,
    description="Approvers' decisions to accept or reject quarantined corrections. Stored in the ledger.",
    owners=OWNERS["clinical"],
    kinds={"sqlite"},
)


@dg.asset(
    group_name=GROUP,
    code_version=code_version(
        "corrections", "dedup", "passages", "tasks", own="4"
    ),  # counts sentences that an author repeats
    deps=[ACCESS_TABLE, "approved_examples", quarantine_decisions],
    # Ignored, since each changed document and each approval would trigger this asset.
    automation_condition=with_new_inputs(ignored=[ACCESS_TABLE, "approved_examples"]),
    description="All corrections with their quarantine state. Unusual, contradictory or repeated ones wait for an approver.",
    owners=OWNERS["clinical"],
    kinds={"parquet"},
    metadata=definition_metadata("quarantined_corrections"),
)
def quarantined_corrections(
    installation: Installation, scrubbed_corrections: pa.Table
) -> dg.MaterializeResult[pa.Table]:
    with user_facing_errors(), installation.ledger() as ledger:
        table = _quarantine(installation, scrubbed_corrections, list_quarantine_decisions(ledger))
    rows = list(iter_records(QuarantinedCorrection, table))
    states = Counter(row.state for row in rows)
    pending = Counter(reason for row in rows if row.state == PENDING for reason in row.reasons)
    return table_result(
        "quarantined_corrections",
        table,
        fingerprint_table(table),
        pending=states[PENDING],
        accepted=states[ACCEPTED],
        rejected=states["rejected"],
        restricted=states[BLOCKED],
        pending_by_reason=markdown_table([{"reason": REASONS[name], "corrections": pending[name]} for name in REASONS]),
    )


def _quarantine(installation: Installation, corrections: pa.Table, decisions: Sequence[QuarantineDecision]) -> pa.Table:
    """Compare corrections with the stored `approved_examples`.

    A correction that was approved once is not quarantined later, unless access to a document that it rests on is restricted.
    """
    recipe = installation.recipe
    stored = installation.stored("approved_examples").rows(ApprovedAnswer.SCHEMA.names)
    approved = [ApprovedAnswer.from_row(row) for row in stored]
    approved_reports = {example.report_id for example in approved}
    rows = list(iter_records(ScrubbedCorrection, corrections))
    accepted = {row.correction_id for row in rows if correction_report_id(row.correction_id) in approved_reports}
    new = [row for row in rows if row.correction_id not in accepted]
    restricted = find_restricted_corrections(rows, _restricted_sources(installation))
    if not new:
        signals = QuarantineSignals({}, {}, {}, restricted_sources=restricted)
        return quarantine_corrections(rows, signals, recipe.corrections, decisions, accepted)
    find_pairs, find_task = whole_text_finder(installation), make_task_lookup(recipe.tasks)
    encode = partial(encode_passages, threads=count_threads(installation))
    signals = QuarantineSignals(
        distances=nearest_distances(new, approved, find_task, encode, recipe.corrections.outlier_minimum_examples),
        contradicted_examples=contradicted_examples(
            _with_drafted_question(new, recipe), approved, find_pairs, installation.pack.pack.checks
        ),
        near_duplicate_count=count_near_identical(rows, find_pairs),
        repeated_sentence_count=count_repeated_sentences(rows, approved, find_pairs),
        missing_passages=find_missing_passages(new) if recipe.passage_template is not None else (),
        restricted_sources=restricted,
    )
    return quarantine_corrections(rows, signals, recipe.corrections, decisions, accepted)


def _with_drafted_question(corrections: Iterable[ScrubbedCorrection], recipe: Recipe) -> list[ScrubbedCorrection]:
    """The corrections with the question as in a draft, so that they can be compared with approved examples."""
    prompts = ((row, build_correction_prompt(row, recipe.passage_template)) for row in corrections)
    return [replace(row, instruction=instruction, input=topic) for row, (instruction, topic) in prompts]


def _restricted_sources(installation: Installation) -> frozenset[str]:
    """Restricted documents, according to their last reading."""
    stored = installation.stored(ACCESS_TABLE).rows(LabelledSource.SCHEMA.names)
    return find_restricted_sources(map(LabelledSource.from_row, stored))


def restricted_reports(installation: Installation, corrections: pa.Table) -> frozenset[str]:
    """Report ids of the corrections that rest on a restricted document.

    Checked again for every set, since access to a document may have been restricted after the quarantine.
    """
    restricted = find_restricted_corrections(
        iter_records(CorrectionPassages, corrections), _restricted_sources(installation)
    )
    return frozenset(map(correction_report_id, restricted))


def drop_quarantined(corrections: pa.Table, quarantined: pa.Table) -> pa.Table:
    """The corrections that may be drafted: those that the quarantine examined with exactly these texts, and let through."""
    states = {state.correction_id: state for state in iter_records(QuarantineState, quarantined)}
    rows = iter_records(ScrubbedCorrection, corrections)
    return corrections.filter(pa.array([can_be_drafted(row, states) for row in rows], pa.bool_()))


def exceeds_author_share(approved: pa.Table, corrections: pa.Table, settings: CorrectionSettings) -> pa.Array:
    """For each approved example, whether it exceeds the recipe's maximum share of its author."""
    known = {correction_report_id(row.correction_id): row for row in _sort_arrivals(corrections)}
    reports = approved.column("report_id").to_pylist()
    sources = approved.column("source").to_pylist()
    corrected = {report for report, source in zip(reports, sources, strict=True) if source == CORRECTION} & set(known)
    arrival_order = [report for report in known if report in corrected]
    authors = {report: known[report].author for report in corrected}
    excess = over_author_limit(authors, arrival_order, approved.num_rows, settings.maximum_author_fraction)
    return pa.array([report in excess for report in reports], pa.bool_())


class _Arrival(Record):
    correction_id: str
    author: str
    received_at: datetime | None


def _sort_arrivals(corrections: pa.Table) -> list[_Arrival]:
    """The corrections in order of arrival, with those without a recorded time first."""
    arrivals = iter_records(_Arrival, corrections)
    return sorted(arrivals, key=lambda row: (row.received_at is not None, row.received_at, row.correction_id))
