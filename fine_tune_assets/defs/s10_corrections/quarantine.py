"""Stage 10, between scrubbing and drafting: corrections that could poison a training are kept apart.

Belongs here: handing corrections, approved examples and decisions to `corrections/`. Must stay out: what makes one suspicious.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import dagster as dg
import pyarrow as pa

from fine_tune_assets.approval.drafts import CORRECTION, asked_of_correction, correction_report_id, task_of_instruction
from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.corrections.collection import beyond_influence
from fine_tune_assets.corrections.quarantine import BARRED, REASONS, Figures, may_be_drafted, quarantine
from fine_tune_assets.corrections.suspicions import (
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
from fine_tune_assets.tables.corrections import ScrubbedCorrection

GROUP = "s10_corrections"
READ_FOR_BARRED = "knowledge_chunks"
"""The table by which `barred_reports` knows who may see a document."""
_COMPARED = ["example_id", "report_id", "task", "instruction", "input", "output"]

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
    rows = table.select(["reasons", "state"]).to_pylist()
    waiting = Counter(reason for row in rows if row["state"] == "waiting" for reason in row["reasons"])
    return result(
        "quarantined_corrections",
        table,
        fingerprint_table(table),
        waiting=sum(row["state"] == "waiting" for row in rows),
        let_through=sum(row["state"] == "let_through" for row in rows),
        rejected=sum(row["state"] == "rejected" for row in rows),
        barred=sum(row["state"] == BARRED for row in rows),
        waiting_by_reason=markdown_table([{"reason": REASONS[name], "corrections": waiting[name]} for name in REASONS]),
    )


def _quarantine(installation: Installation, corrections: pa.Table, decisions: list[Any]) -> pa.Table:
    """Compared with what was approved when the newest correction or decision came. `approved_examples` can't be declared (see
    `CYCLES`). What was approved once is not kept apart later, unless a document that it rests on is not for everyone any more."""
    recipe = installation.recipe
    approved = installation.stored("approved_examples").rows(_COMPARED)
    stand = {row["report_id"] for row in approved}
    task_of = task_of_instruction(recipe.tasks)
    every = [row | {"task": task_of(row["instruction"])} for row in corrections.to_pylist()]
    before = {r["correction_id"] for r in every if correction_report_id(r["correction_id"]) in stand}
    rows = [row for row in every if row["correction_id"] not in before]
    closed = not_for_everyone(every, _closed_sources(installation))
    if not rows:
        figures = Figures({}, {}, {}, not_for_everyone=closed)
        return quarantine(every, figures, recipe.corrections, decisions, before)
    find_pairs = whole_text_finder(installation)
    encode = partial(encode_passages, threads=threads_of(installation))
    figures = Figures(
        distances=nearest_distances(rows, approved, encode, recipe.corrections.outlier_minimum_examples),
        contradicts=contradicted_examples(_as_drafted(rows, recipe), approved, find_pairs),
        near_identical=near_identical(every, find_pairs),
        passages_gone=passages_gone(rows) if recipe.passage_template is not None else (),
        not_for_everyone=closed,
    )
    return quarantine(every, figures, recipe.corrections, decisions, before)


def _as_drafted(rows: Iterable[Mapping[str, Any]], recipe: Recipe) -> list[dict[str, Any]]:
    """With the question as the example will have it: approved ones are compared that have theirs so."""
    asked = ((row, asked_of_correction(ScrubbedCorrection.of(row), recipe.passage_template)) for row in rows)
    return [{**row, "instruction": instruction, "input": about} for row, (instruction, about) in asked]


def _closed_sources(installation: Installation) -> frozenset[str]:
    """By the documents as they were read last."""
    return closed_sources(installation.stored(READ_FOR_BARRED).rows(("source", "labels")))


def barred_reports(installation: Installation, corrections: pa.Table) -> frozenset[str]:
    """Of `scrubbed_corrections`, what the ids of reports would be, of those that rest on what not everyone may see. Asked again
    wherever a set is made: a document may have been closed since its corrections were examined."""
    rows = corrections.select(["correction_id", "passages"]).to_pylist()
    return frozenset(map(correction_report_id, not_for_everyone(rows, _closed_sources(installation))))


def without_quarantined(corrections: pa.Table, quarantined: pa.Table) -> pa.Table:
    """The corrections that become drafts: what the table does not say was examined, with exactly these texts, is none."""
    rows = quarantined.select(["correction_id", "fingerprint", "state"]).to_pylist()
    examined = {row["correction_id"]: (row["fingerprint"], row["state"]) for row in rows}
    return corrections.filter(pa.array([may_be_drafted(row, examined) for row in corrections.to_pylist()], pa.bool_()))


def waits_for_others(approved: pa.Table, corrections: pa.Table, settings: CorrectionSettings) -> pa.Array:
    """Of each approved example whether it waits: its author wrote more than the recipe lets one author write."""
    known = {correction_report_id(row["correction_id"]): row for row in _arrivals(corrections)}
    reports = approved.column("report_id").to_pylist()
    sources = approved.column("source").to_pylist()
    own = {r for r, source in zip(reports, sources, strict=True) if source == CORRECTION and r in known}
    arrival = [report for report in known if report in own]
    authors = {report: known[report]["author"] for report in own}
    waiting = beyond_influence(authors, arrival, approved.num_rows, settings.maximum_author_fraction)
    return pa.array([report in waiting for report in reports], pa.bool_())


def _arrivals(corrections: pa.Table) -> list[dict[str, Any]]:
    """In the order in which they arrived; those of before times were kept come first."""
    rows: list[dict[str, Any]] = corrections.select(["correction_id", "author", "received_at"]).to_pylist()
    return sorted(rows, key=lambda row: (row["received_at"] is not None, row["received_at"], row["correction_id"]))
