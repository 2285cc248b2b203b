"""Stage 2: measures the scrubber and scrubs batches. `phi/` defines what an identifier is."""

import datetime
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.core.keys import SUBJECTS_KEY
from fine_tune_assets.core.line_names import name_line
from fine_tune_assets.core.processes.worker_requests import (
    FindMissesRequest,
    MeasureRecallRequest,
    ScrubFields,
    ScrubReportsRequest,
)
from fine_tune_assets.defs.platform.asset_keys import asset_key
from fine_tune_assets.defs.platform.automation import on_new_batches, on_new_inputs
from fine_tune_assets.defs.platform.column_lineage import source_columns
from fine_tune_assets.defs.platform.metadata import (
    OWNERS,
    bar_table,
    check_result,
    count_values,
    definition_metadata,
    markdown_table,
    table_outs,
    table_result,
    warning_result,
)
from fine_tune_assets.defs.platform.recipe_versions import code_version
from fine_tune_assets.defs.platform.resources import Installation, Worker, user_facing_errors
from fine_tune_assets.defs.s01_raw_reports.raw_reports import BATCHES
from fine_tune_assets.defs.s02_scrubbed_reports.heading_places import add_headings
from fine_tune_assets.defs.s02_scrubbed_reports.missed_identifiers import (
    gold_files,
    load_missed_terms,
    missed_identifiers,
)
from fine_tune_assets.defs.s02_scrubbed_reports.rescrub_requests import collisions_by_batch, rescrub_requests
from fine_tune_assets.phi.measurement.misses import load_shipped_misses, select_sets_with_misses
from fine_tune_assets.phi.measurement.recall_report import (
    MISSES_PAGE,
    REPORT_COMMAND,
    MeasuredFloor,
    RecallReport,
    measure_recipe_floors,
    report_recall,
)
from fine_tune_assets.phi.measurement.replaced_words import count_replaced_words
from fine_tune_assets.phi.missed_identifiers.missed_terms import REVIEWER_MARKS, add_missed_terms
from fine_tune_assets.tables.scrubbing_rows import LabelledMiss

GROUP = "s02_scrubbed_reports"

labelled_reports = dg.AssetSpec(
    "labelled_reports",
    group_name=GROUP,
    description="Texts of the recipe's domain in which people labelled every identifier. They measure the scrubber.",
    owners=OWNERS["clinical"],
    kinds={"json"},
    metadata=source_columns(text="A text with identifiers", spans="Their positions and kinds"),
)


@dg.asset(
    group_name=GROUP,
    deps=[labelled_reports, missed_identifiers],
    code_version=code_version("scrub"),
    automation_condition=on_new_inputs(),
    description="The share of identifiers in the labelled texts that the scrubber removes completely, by kind.",
    owners=OWNERS["clinical"],
    kinds={"parquet"},
    metadata=definition_metadata("scrub_recall"),
)
def scrub_recall(
    context: dg.AssetExecutionContext, installation: Installation, worker: Worker
) -> dg.MaterializeResult[pa.Table]:
    labelled = installation.pack.list_labelled_files(installation.layout.data_dir)
    with (
        user_facing_errors(),
        installation.scratch(context, "scrub_recall") as (output,),
        gold_files(installation, labelled, output) as gold,
    ):
        request: MeasureRecallRequest = {
            "action": "measure_recall",
            "gold": [str(p) for p in gold],
            "output": str(output),
            "settings": asdict(installation.recipe.scrubber),
        }
        measured = worker.run(context, "phi", request)
        table = pq.read_table(output)
        misses = _list_misses(context, worker, select_sets_with_misses(gold, table), request)
    installation.stored("labelled_misses").write(misses)
    # Without reviewers' marks: a new mark must not scrub every batch again.
    version = fingerprint_table(table.filter(pc.not_equal(table["labelled_set"], REVIEWER_MARKS)))
    report = report_recall(table, measure_floors(installation, table), installation.pack.pack.indirect_kinds)
    return table_result("scrub_recall", table, version, recall=measured["recall"], **_show_report(report, misses))


def _list_misses(
    context: dg.AssetExecutionContext, worker: Worker, gold: Sequence[Path], measured: MeasureRecallRequest
) -> pa.Table:
    """`labelled_misses` of the sets with a miss: shipped with the repository, or from scrubbing these sets again."""
    if not gold:
        return LabelledMiss.SCHEMA.empty_table()
    shipped = load_shipped_misses(gold, measured["settings"])
    request: FindMissesRequest = {
        "action": "find_misses",
        "gold": [str(path) for path in gold],
        "settings": measured["settings"],
    }
    return worker.make_table(context, "phi.measurement", request) if shipped is None else shipped


def _show_report(report: RecallReport, misses: pa.Table) -> dict[str, Any]:
    """Metadata without text: floors, and figures by kind, labelled set and cause."""
    return {
        "floors": markdown_table([{**asdict(one), "is_met": one.is_met} for one in report.floors]),
        "by_kind": markdown_table([asdict(one) for one in report.kinds]),
        "by_labelled_set": markdown_table([asdict(one) for one in report.sets]),
        "misses_by_cause": dg.MetadataValue.json(count_values(misses["cause"])),
    }


@dg.asset_check(
    asset="scrub_recall",
    blocking=True,
    description="The scrubber removes at least the share of labelled identifiers that the recipe requires.",
)
def scrub_recall_meets_floor(installation: Installation, scrub_recall: pa.Table) -> dg.AssetCheckResult:
    floors = measure_floors(installation, scrub_recall)
    figures = {f"{f.label}_recall": f.recall for f in floors if f.recall is not None}
    missed = " ".join(f.describe() for f in floors if not f.is_met)
    shown = {**{f"{f.label}_floor": f.floor for f in floors}, **figures}
    page = dg.MetadataValue.url(installation.settings.desk_page_url(MISSES_PAGE))
    return check_result(not missed, missed or None, **shown, command=name_line(REPORT_COMMAND), page=page)


def measure_floors(installation: Installation, scrub_recall: pa.Table) -> list[MeasuredFloor]:
    return measure_recipe_floors(scrub_recall, installation.recipe)


@dg.multi_asset(
    outs=table_outs(
        {
            "scrubbed_reports": "The reports with every found identifier replaced, by an invented value and by its kind. The "
            "table `withheld_reports` has the reports in which a second pass still found identifiers; `identifier_values` has "
            "keyed hashes of the real and the invented values, of which no value may be both.",
            "phi_spans": "Position, kind and recognizer of each identifier that was found, without its value.",
        },
        group=GROUP,
        owners=OWNERS["clinical"],
        # Most batches have no request.
        condition=on_new_batches(optional=dg.AssetSelection.assets(asset_key("rescrub_requests"))),
    ),
    deps=[rescrub_requests],
    partitions_def=BATCHES,
    name="scrub_reports",
)
def scrub_reports(
    context: dg.AssetExecutionContext,
    installation: Installation,
    worker: Worker,
    reports: pa.Table,
    scrub_recall: pa.Table,
) -> Iterator[dg.MaterializeResult[pa.Table]]:
    with user_facing_errors():
        require_measured_scrubber(installation, scrub_recall)
        reports = add_missed_terms(reports, load_missed_terms(installation))
    with installation.scratch(context, "reports", *OUTPUTS) as (raw, *outputs):
        write_table(raw, reports)
        scrubbed_file, spans_file, withheld_file, values_file = map(str, outputs)
        request: ScrubReportsRequest = {
            "action": "scrub_reports",
            "reports": str(raw),
            "scrubbed": scrubbed_file,
            "spans": spans_file,
            "withheld": withheld_file,
            "values": values_file,
            **scrub_request(installation, context.partition_key),
        }
        counts = worker.run(context, "phi", request)
        scrubbed, spans, withheld, values = (pq.read_table(path) for path in outputs)
    scrubbed, lost_headings = add_headings(scrubbed, reports, spans)
    shown = {"headings_lost": lost_headings} if lost_headings else {}
    shown |= {
        "identifiers_removed": counts["spans"],
        "withheld": counts["withheld"],
        "cache_hits": counts["cache_hits"],
    }
    installation.stored("withheld_reports").write(withheld, context.partition_key)
    installation.stored("identifier_values").write(values, context.partition_key)
    yield table_result("scrubbed_reports", scrubbed, fingerprint_table(scrubbed), **shown)
    yield table_result("phi_spans", spans, fingerprint_table(spans), by_kind=bar_table("kind", counts["spans_by_kind"]))


_MAX_WORDS = 12
"""Printed in a message."""
OUTPUTS = ("scrubbed", "spans", "withheld", "values")
"""The worker's output files."""


def scrub_request(installation: Installation, batch: str | None) -> ScrubFields:
    """The common part of all scrub requests. `batch`: the one whose values are about to be replaced."""
    assert installation.subject_secret  # raises SettingsError if the key is lost
    values = installation.stored("identifier_values").files()
    return {
        "settings": asdict(installation.recipe.scrubber),
        "key_file": str(installation.settings.subject_keys / f"{SUBJECTS_KEY}.key"),
        "cache": str(installation.layout.cache / "scrubbed"),
        "other_values": [str(path) for path in values if path.stem != batch],
        "today": datetime.date.today().isoformat(),
    }


with warnings.catch_warnings():
    warnings.simplefilter("ignore", dg.PreviewWarning)

    @dg.asset_check(
        asset="scrubbed_reports",
        partitions_def=BATCHES,
        description="The second pass over the scrubbed reports of the batch found no identifier, so no report is withheld.",
    )
    def no_report_is_withheld(
        context: dg.AssetCheckExecutionContext, installation: Installation
    ) -> dg.AssetCheckResult:
        return count_withheld(installation.stored("withheld_reports").table(context.partition_key))

    @dg.asset_check(
        asset="scrubbed_reports",
        additional_ins={"reports": dg.AssetIn(asset_key("reports")), "phi_spans": dg.AssetIn(asset_key("phi_spans"))},
        partitions_def=BATCHES,
        description="No ordinary word or unit was taken for a name and replaced by an invented one.",
    )
    def ordinary_words_are_kept(reports: pa.Table, phi_spans: pa.Table) -> dg.AssetCheckResult:
        return describe_replaced_words(reports, phi_spans)


def describe_replaced_words(reports: pa.Table, spans: pa.Table) -> dg.AssetCheckResult:
    """The result of `ordinary_words_are_kept` for the rows of one batch."""
    texts = dict(zip(reports["report_id"].to_pylist(), reports["text"].to_pylist(), strict=True))
    counts, ids = count_replaced_words(texts, spans.to_pylist())
    named = ", ".join(f"{word} {count}" for word, count in list(counts.items())[:_MAX_WORDS])
    more = f" and {len(counts) - _MAX_WORDS} more" if len(counts) > _MAX_WORDS else ""
    why = f"Ordinary words or units were replaced in {len(ids)} reports: {named}{more}." if counts else None
    return warning_result(not counts, why, reports=len(ids), by_word=dg.MetadataValue.json(counts))


def count_withheld(withheld: pa.Table) -> dg.AssetCheckResult:
    """The result of `no_report_is_withheld` for the rows of one batch."""
    sums = withheld.group_by("kind").aggregate([("count", "sum")]).to_pylist()
    return warning_result(
        withheld.num_rows == 0,
        reports=len(set(withheld.column("report_id").to_pylist())),
        by_kind=dg.MetadataValue.json({row["kind"]: row["count_sum"] for row in sums}),
    )


@dg.asset_check(
    asset="scrubbed_reports",
    description="No invented value is a real value of another batch. A batch with such a value is withheld and scrubbed again.",
)
def no_surrogate_is_a_real_value(installation: Installation) -> dg.AssetCheckResult:
    collisions = collisions_by_batch(installation)
    counts = {batch: len(hashes) for batch, hashes in collisions.items()}
    return warning_result(not collisions, collisions_by_batch=dg.MetadataValue.json(counts))


def require_measured_scrubber(installation: Installation, scrub_recall: pa.Table) -> None:
    """Raise GateClosedError unless the scrubber meets its floors. Applies to runs without the check too."""
    floors = measure_floors(installation, scrub_recall)
    for floor in floors:
        if not floor.is_met:
            raise GateClosedError(floor.describe())
