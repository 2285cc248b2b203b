"""Stage 2: measures the scrubber and scrubs batches. `phi/` defines what an identifier is."""

import datetime
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fine_tune_assets.core.errors import GateClosedError, materialize_hint
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.core.keys import SUBJECTS_KEY
from fine_tune_assets.defs.platform.asset_keys import asset_key
from fine_tune_assets.defs.platform.automation import on_new_batches, on_new_inputs
from fine_tune_assets.defs.platform.column_lineage import source_columns
from fine_tune_assets.defs.platform.metadata import (
    OWNERS,
    bar_table,
    check_result,
    definition_metadata,
    table_outs,
    table_result,
    warning_result,
)
from fine_tune_assets.defs.platform.recipe_sections import recipe_section
from fine_tune_assets.defs.platform.resources import Installation, Worker, user_facing_errors
from fine_tune_assets.defs.s01_raw_reports.raw_reports import BATCHES
from fine_tune_assets.defs.s02_scrubbed_reports.heading_places import add_headings
from fine_tune_assets.defs.s02_scrubbed_reports.missed_identifiers import (
    gold_files,
    load_missed_terms,
    missed_identifiers,
)
from fine_tune_assets.defs.s02_scrubbed_reports.rescrub_requests import collisions_by_batch, rescrub_requests
from fine_tune_assets.phi.measurement.pooled_recall import pooled_recall
from fine_tune_assets.phi.measurement.recall import ALL, DIRECT, lowest_recall
from fine_tune_assets.phi.missed_identifiers.missed_terms import REVIEWER_MARKS, add_missed_terms
from fine_tune_assets.phi.scrubber import scrubber_version

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
    deps=[labelled_reports, missed_identifiers, recipe_section("scrub")],
    automation_condition=on_new_inputs(),
    description="The share of identifiers in the labelled texts that the scrubber removes completely, by kind.",
    owners=OWNERS["clinical"],
    kinds={"parquet"},
    metadata=definition_metadata("scrub_recall"),
)
def scrub_recall(
    context: dg.AssetExecutionContext, installation: Installation, worker: Worker
) -> dg.MaterializeResult[pa.Table]:
    labelled = list_labelled_files(installation)
    with (
        user_facing_errors(),
        installation.scratch(context, "scrub_recall") as (output,),
        gold_files(installation, labelled, output) as gold,
    ):
        request = {
            "action": "measure_recall",
            "gold": [str(p) for p in gold],
            "output": str(output),
            "settings": asdict(installation.recipe.scrubber),
        }
        measured = worker.run(context, "phi", request)
        table = pq.read_table(output)
    # Without reviewers' marks: a new mark must not scrub every batch again.
    version = fingerprint_table(table.filter(pc.not_equal(table["labelled_set"], REVIEWER_MARKS)))
    return table_result(
        "scrub_recall",
        table,
        version,
        recall=measured["recall"],
        recall_by_kind=bar_table("kind of identifier", pooled_recall(table)),
    )


def list_labelled_files(installation: Installation) -> list[Path]:
    """The labelled sets of the recipe's domain. Those of another domain measure nothing here."""
    folders = [installation.path(name) for name in installation.pack.pack.labelled_sets]
    return sorted(path for folder in folders for path in folder.glob("*.jsonl"))


@dg.asset_check(
    asset="scrub_recall",
    blocking=True,
    description="The scrubber removes at least the share of labelled identifiers that the recipe requires.",
)
def scrub_recall_meets_floor(installation: Installation, scrub_recall: pa.Table) -> dg.AssetCheckResult:
    floors = measure_floors(installation, scrub_recall)
    figures = {f"{f.label}_recall": f.recall for f in floors if f.recall is not None}
    missed = " ".join(f.describe() for f in floors if not f.is_met)
    return check_result(not missed, missed or None, **{f"{f.label}_floor": f.floor for f in floors}, **figures)


@dataclass(frozen=True)
class MeasuredFloor:
    """A recall floor of the recipe and the lowest measured recall of any labelled set."""

    label: str
    floor: float
    recall: float | None

    @property
    def is_met(self) -> bool:
        return self.recall is not None and self.recall >= self.floor

    def describe(self) -> str:
        """Why the floor is not met."""
        if self.recall is None:
            return (
                f"This version of the scrubber has not been measured ({self.label}). {materialize_hint('scrub_recall')} The "
                "labelled sets must contain direct identifiers, such as names."
            )
        return (
            f"The scrubber removes {self.recall:.3f} of the labelled identifiers ({self.label}), below the recipe's floor of "
            f"{self.floor}."
        )


def measure_floors(installation: Installation, scrub_recall: pa.Table) -> list[MeasuredFloor]:
    settings = installation.recipe.scrub
    version = scrubber_version(installation.recipe.scrubber)
    floors = {ALL: settings.recall_floor, DIRECT: settings.direct_recall_floor}
    return [MeasuredFloor(label, floor, lowest_recall(scrub_recall, version, label)) for label, floor in floors.items()]


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
    with installation.scratch(context, "reports", *OUTPUTS) as (raw, *made):
        write_table(raw, reports)
        request = {"action": "scrub_reports", "reports": str(raw), **scrub_request(installation, context.partition_key)}
        counts = worker.run(
            context, "phi", {**request, **{name: str(p) for name, p in zip(OUTPUTS, made, strict=True)}}
        )
        scrubbed, spans, withheld, values = (pq.read_table(path) for path in made)
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


OUTPUTS = ("scrubbed", "spans", "withheld", "values")
"""The worker's output files."""


def scrub_request(installation: Installation, batch: str | None) -> dict[str, object]:
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
