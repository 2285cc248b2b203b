"""Stage 10, between scrubbing and drafting: corrections that could poison a training are kept apart.

Belongs here: handing corrections, approved examples and decisions to `corrections/`. Must stay out: what makes one suspicious.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

import dagster as dg
import pyarrow as pa

from fine_tune_assets.approval.drafts import CORRECTION, asked_of_correction, correction_report_id, task_of_instruction
from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.core.records import QuarantineDecision
from fine_tune_assets.corrections.collection import beyond_influence
from fine_tune_assets.corrections.quarantine import (
    BARRED,
    LET_THROUGH,
    REASONS,
    WAITING,
    Examined,
    Figures,
    may_be_drafted,
    quarantine,
)
from fine_tune_assets.corrections.suspicions import (
    ApprovedAnswer,
    CorrectionPassages,
    LabelledSource,
    closed_sources,
    contradicted_examples,
    near_identical,
    nearest_distances,
    not_for_everyone,
    passages_gone,
)
from fine_tune_assets.defs.platform.automation import with_new_inputs
from fine_tune_assets.defs.platform.metadata import OWNERS, definition_metadata, markdown_table, result
from fine_tune_assets.defs.platform.pair_finding import threads_of, whole_text_finder
from fine_tune_assets.defs.platform.recipe_sections import recipe_section
from fine_tune_assets.defs.platform.resources import Installation, errors_for_people
from fine_tune_assets.embeddings.encoder import encode_passages
from fine_tune_assets.ledger.reviews.quarantine import list_quarantine_decisions
from fine_tune_assets.recipes.schema import CorrectionSettings, Recipe
from fine_tune_assets.tables.corrections import QuarantinedCorrection, ScrubbedCorrection
from fine_tune_assets.tables.records import Record, records_of

GROUP = "s10_corrections"
READ_FOR_BARRED = "knowledge_chunks"
"""The table by which `barred_reports` knows who may see a document."""

quarantine_decisions = dg.AssetSpec(
    "quarantine_decisions",
    group_name=GROUP,
    description="Which corrections approvers let out of quarantine or rejected. Kept in the ledger.",
    owners=OWNERS["clinical"],
    kinds={"sqlite"},
)


@dg.asset(
    group_name=GROUP,
    code_version="3",  # what an answer was given from
    deps=[
        READ_FOR_BARRED,
        quarantine_decisions,
        *(recipe_section(name) for name in ("corrections", "dedup", "passages", "tasks")),
    ],
    # Each changed document would make this anew.
    automation_condition=with_new_inputs(untriggered=[READ_FOR_BARRED]),
    description="Every correction examined; strange, contradictory or flooding ones wait until an approver has looked at them.",
    owners=OWNERS["clinical"],
    kinds={"parquet"},
    metadata=definition_metadata("quarantined_corrections"),
)
def quarantined_corrections(
    installation: Installation, scrubbed_corrections: pa.Table
) -> dg.MaterializeResult[pa.Table]:
    with errors_for_people(), installation.ledger() as ledger:
        table = _quarantine(installation, scrubbed_corrections, list_quarantine_decisions(ledger))
    examined = list(records_of(QuarantinedCorrection, table))
    states = Counter(one.state for one in examined)
    waiting = Counter(reason for one in examined if one.state == WAITING for reason in one.reasons)
    return result(
        "quarantined_corrections",
        table,
        fingerprint_table(table),
        waiting=states[WAITING],
        let_through=states[LET_THROUGH],
        rejected=states["rejected"],
        barred=states[BARRED],
        waiting_by_reason=markdown_table([{"reason": REASONS[name], "corrections": waiting[name]} for name in REASONS]),
    )


def _quarantine(installation: Installation, corrections: pa.Table, decisions: Sequence[QuarantineDecision]) -> pa.Table:
    """Compared with what was approved when the newest correction or decision came. `approved_examples` can't be declared (see
    `CYCLES`). What was approved once is not kept apart later, unless a document that it rests on is not for everyone any more."""
    recipe = installation.recipe
    stored = installation.stored("approved_examples").rows(ApprovedAnswer.SCHEMA.names)
    approved = [ApprovedAnswer.of(row) for row in stored]
    stand = {example.report_id for example in approved}
    every = list(records_of(ScrubbedCorrection, corrections))
    before = {one.correction_id for one in every if correction_report_id(one.correction_id) in stand}
    new = [one for one in every if one.correction_id not in before]
    closed = not_for_everyone(every, _closed_sources(installation))
    if not new:
        figures = Figures({}, {}, {}, not_for_everyone=closed)
        return quarantine(every, figures, recipe.corrections, decisions, before)
    find_pairs, task_of = whole_text_finder(installation), task_of_instruction(recipe.tasks)
    encode = partial(encode_passages, threads=threads_of(installation))
    figures = Figures(
        distances=nearest_distances(new, approved, task_of, encode, recipe.corrections.outlier_minimum_examples),
        contradicts=contradicted_examples(_as_drafted(new, recipe), approved, find_pairs),
        near_identical=near_identical(every, find_pairs),
        passages_gone=passages_gone(new) if recipe.passage_template is not None else (),
        not_for_everyone=closed,
    )
    return quarantine(every, figures, recipe.corrections, decisions, before)


def _as_drafted(corrections: Iterable[ScrubbedCorrection], recipe: Recipe) -> list[ScrubbedCorrection]:
    """With the question as the example will have it: approved ones are compared that have theirs so."""
    asked = ((one, asked_of_correction(one, recipe.passage_template)) for one in corrections)
    return [replace(one, instruction=instruction, input=about) for one, (instruction, about) in asked]


def _closed_sources(installation: Installation) -> frozenset[str]:
    """By the documents as they were read last."""
    stored = installation.stored(READ_FOR_BARRED).rows(LabelledSource.SCHEMA.names)
    return closed_sources(map(LabelledSource.of, stored))


def barred_reports(installation: Installation, corrections: pa.Table) -> frozenset[str]:
    """Of `scrubbed_corrections`, what the ids of reports would be, of those that rest on what not everyone may see. Asked again
    wherever a set is made: a document may have been closed since its corrections were examined."""
    closed = not_for_everyone(records_of(CorrectionPassages, corrections), _closed_sources(installation))
    return frozenset(map(correction_report_id, closed))


def without_quarantined(corrections: pa.Table, quarantined: pa.Table) -> pa.Table:
    """The corrections that become drafts: what the table does not say was examined, with exactly these texts, is none."""
    examined = {one.correction_id: one for one in records_of(Examined, quarantined)}
    rows = records_of(ScrubbedCorrection, corrections)
    return corrections.filter(pa.array([may_be_drafted(row, examined) for row in rows], pa.bool_()))


def waits_for_others(approved: pa.Table, corrections: pa.Table, settings: CorrectionSettings) -> pa.Array:
    """Of each approved example whether it waits: its author wrote more than the recipe lets one author write."""
    known = {correction_report_id(one.correction_id): one for one in _arrivals(corrections)}
    reports = approved.column("report_id").to_pylist()
    sources = approved.column("source").to_pylist()
    own = {r for r, source in zip(reports, sources, strict=True) if source == CORRECTION and r in known}
    arrival = [report for report in known if report in own]
    authors = {report: known[report].author for report in own}
    waiting = beyond_influence(authors, arrival, approved.num_rows, settings.maximum_author_fraction)
    return pa.array([report in waiting for report in reports], pa.bool_())


class _Arrival(Record):
    correction_id: str
    author: str
    received_at: datetime | None


def _arrivals(corrections: pa.Table) -> list[_Arrival]:
    """In the order in which they arrived; those of before times were kept come first."""
    arrivals = records_of(_Arrival, corrections)
    return sorted(arrivals, key=lambda one: (one.received_at is not None, one.received_at, one.correction_id))
