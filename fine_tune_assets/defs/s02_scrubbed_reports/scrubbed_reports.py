"""Stage 2: identifiers out.

Belongs here: measuring the scrubber and scrubbing a batch. Must stay out: what counts as an identifier (see `phi/`).
"""

import datetime
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fine_tune_assets.core.errors import GateClosedError, materialize_hint
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.core.keys import PATIENTS_KEY
from fine_tune_assets.defs.platform.automation import on_new_batches, on_new_inputs
from fine_tune_assets.defs.platform.metadata import OWNERS, checked, definition_metadata, result, table_outs, warned
from fine_tune_assets.defs.platform.recipe_sections import recipe_section
from fine_tune_assets.defs.platform.resources import Installation, Worker, errors_for_people
from fine_tune_assets.defs.s01_raw_reports.raw_reports import BATCHES
from fine_tune_assets.defs.s02_scrubbed_reports.missed_identifiers import (
    gold_files,
    missed_identifiers,
    missed_terms_of_batches,
    terms_of,
)
from fine_tune_assets.defs.s02_scrubbed_reports.taken_surrogates import (
    batches_with_taken_surrogates,
    taken_surrogates_of_batches,
)
from fine_tune_assets.phi.measurement.recall import ALL, DIRECT, overall_recall
from fine_tune_assets.phi.missed_identifiers.terms import MARKED_BY_REVIEWERS, with_missed_terms
from fine_tune_assets.phi.scrubbing import scrubber_version

GROUP = "s02_scrubbed_reports"
SECOND_THOUGHTS = dg.AssetSelection.assets(missed_terms_of_batches.key, taken_surrogates_of_batches.key)
"""What makes a batch be scrubbed again. Most batches have none."""

labelled_reports = dg.AssetSpec(
    "labelled_reports",
    group_name=GROUP,
    description="Texts in which people marked every identifier (`data/evaluation/phi`). They measure the scrubber.",
    owners=OWNERS["clinical"],
    kinds={"json"},
)


@dg.asset(
    group_name=GROUP,
    deps=[labelled_reports, missed_identifiers, recipe_section("scrub")],
    automation_condition=on_new_inputs(),
    description="How many of the identifiers in the labelled texts the scrubber removes whole, by kind.",
    owners=OWNERS["clinical"],
    kinds={"parquet"},
    metadata=definition_metadata("scrub_recall"),
)
def scrub_recall(
    context: dg.AssetExecutionContext, installation: Installation, worker: Worker
) -> dg.MaterializeResult[pa.Table]:
    labelled = sorted((installation.layout.evaluation / "phi").glob("*.jsonl"))
    with (
        errors_for_people(),
        installation.scratch(context, "scrub_recall") as (output,),
        gold_files(installation, labelled, output) as gold,
    ):
        request = {
            "action": "measure_recall",
            "gold": [str(p) for p in gold],
            "output": str(output),
            "settings": asdict(installation.recipe.scrub),
        }
        measured = worker.run(context, "phi", request)
        table = pq.read_table(output)
    # Without what was marked: a new case must not scrub every batch again.
    version = fingerprint_table(table.filter(pc.not_equal(table["labelled_set"], MARKED_BY_REVIEWERS)))
    return result("scrub_recall", table, version, recall=measured["recall"])


@dg.asset_check(
    asset="scrub_recall",
    blocking=True,
    description="The scrubber removes at least the share of labelled identifiers that the recipe demands.",
)
def scrub_recall_meets_floor(installation: Installation, scrub_recall: pa.Table) -> dg.AssetCheckResult:
    floors = measured_floors(installation, scrub_recall)
    figures = {f"{f.label}_recall": f.recall for f in floors if f.recall is not None}
    return checked(all(f.is_met for f in floors), **{f"{f.label}_floor": f.floor for f in floors}, **figures)


@dataclass(frozen=True)
class Floor:
    """A floor of the recipe and what was measured: the lowest recall of any labelled set."""

    label: str
    floor: float
    recall: float | None

    @property
    def is_met(self) -> bool:
        return self.recall is not None and self.recall >= self.floor


def measured_floors(installation: Installation, scrub_recall: pa.Table) -> list[Floor]:
    settings = installation.recipe.scrub
    version = scrubber_version(settings)
    floors = {ALL: settings.recall_floor, DIRECT: settings.direct_recall_floor}
    return [Floor(label, floor, overall_recall(scrub_recall, version, label)) for label, floor in floors.items()]


@dg.multi_asset(
    outs=table_outs(
        {
            "scrubbed_reports": "The reports with every identifier that was found replaced, by invented values and by its kind.",
            "phi_spans": "Where each identifier stood, of which kind it is and which rule found it; never the value.",
            "held_reports": "Reports in which a second look still found something: they are held back. Kinds and counts only.",
            "identifier_values": "Keyed hashes of the values that occur in the batch and of those put in their place: none may "
            "be both.",
        },
        group=GROUP,
        owners=OWNERS["clinical"],
        condition=on_new_batches(optional=SECOND_THOUGHTS),
    ),
    deps=[missed_terms_of_batches, taken_surrogates_of_batches],
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
    with errors_for_people():
        require_measured_scrubber(installation, scrub_recall)
        reports = with_missed_terms(reports, terms_of(installation))
    with installation.scratch(context, "reports", *OUTPUTS) as (raw, *made):
        write_table(raw, reports)
        request = {"action": "scrub", "reports": str(raw), **scrub_request(installation, context.partition_key)}
        counts = worker.run(
            context, "phi", {**request, **{name: str(p) for name, p in zip(OUTPUTS, made, strict=True)}}
        )
        scrubbed, spans, held, values = (pq.read_table(path) for path in made)
    told = {"identifiers_removed": counts["spans"], "held_back": counts["held"], "from_cache": counts["from_cache"]}
    yield result("scrubbed_reports", scrubbed, fingerprint_table(scrubbed), **told)
    yield result("phi_spans", spans, fingerprint_table(spans), by_kind=dg.MetadataValue.json(counts["by_label"]))
    yield result("held_reports", held, fingerprint_table(held), held_back=counts["held"])
    yield result("identifier_values", values, fingerprint_table(values))


OUTPUTS = ("scrubbed", "spans", "held", "values")
"""Of the worker, in the order of the assets."""


def scrub_request(installation: Installation, batch: str | None) -> dict[str, object]:
    """What every request to scrub holds. `batch`: the one whose own values will be replaced."""
    assert installation.patient_secret  # raises in plain words if the key is lost
    values = installation.stored("identifier_values").files()
    return {
        "settings": asdict(installation.recipe.scrub),
        "key_file": str(installation.layout.keys / f"{PATIENTS_KEY}.key"),
        "cache": str(installation.layout.cache / "scrubbed"),
        "other_values": [str(path) for path in values if path.stem != batch],
        "today": datetime.date.today().isoformat(),
    }


with warnings.catch_warnings():
    warnings.simplefilter("ignore", dg.PreviewWarning)

    @dg.asset_check(
        asset="held_reports",
        partitions_def=BATCHES,
        description="The second look at the scrubbed reports of the batch found nothing, so none is held back.",
    )
    def no_report_is_held_back(held_reports: pa.Table) -> dg.AssetCheckResult:
        held = held_reports.group_by("kind").aggregate([("count", "sum")]).to_pylist()
        return warned(
            held_reports.num_rows == 0,
            reports=len(set(held_reports.column("report_id").to_pylist())),
            by_kind=dg.MetadataValue.json({row["kind"]: row["count_sum"] for row in held}),
        )


@dg.asset_check(
    asset="identifier_values",
    description="No invented value of any batch is a real value of a batch: reports of one where it is are held back.",
)
def no_surrogate_is_a_real_value(installation: Installation) -> dg.AssetCheckResult:
    taken = batches_with_taken_surrogates(installation)
    counts = {batch: len(hashes) for batch, hashes in taken.items()}
    return warned(not taken, taken_by_batch=dg.MetadataValue.json(counts))


def require_measured_scrubber(installation: Installation, scrub_recall: pa.Table) -> None:
    """The gate itself: also when this step is launched by hand, in a run without the check."""
    floors = measured_floors(installation, scrub_recall)
    for floor in floors:
        if floor.recall is None:
            raise GateClosedError(
                f"This version of the scrubber was not measured ({floor.label}). {materialize_hint('scrub_recall')} The labelled "
                "sets must hold direct identifiers, such as names."
            )
        if not floor.is_met:
            raise GateClosedError(
                f"The scrubber removes {floor.recall:.3f} of the labelled identifiers ({floor.label}), the recipe demands "
                f"{floor.floor}."
            )
