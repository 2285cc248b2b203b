"""Stage 3: one row a distinct report.

Belongs here: which scrubbed reports are compared at all, joining all batches and dropping duplicates. Must stay out: how
similarity is computed (see `dedup/`).
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.dedup.batches import missing_by_batch
from fine_tune_assets.dedup.duplicates import Duplicates, find_among
from fine_tune_assets.dedup.store import Store
from fine_tune_assets.defs.platform.automation import on_new_inputs_and_at_once
from fine_tune_assets.defs.platform.metadata import (
    OWNERS,
    checked,
    markdown_table,
    result,
    stored_metadata,
    table_outs,
    warned,
)
from fine_tune_assets.defs.platform.pair_finding import threads_of
from fine_tune_assets.defs.platform.recipe_sections import recipe_section
from fine_tune_assets.defs.platform.resources import Installation, errors_for_people, step_shown
from fine_tune_assets.defs.s02_scrubbed_reports.missed_identifiers import missed_identifiers, terms_of
from fine_tune_assets.defs.s02_scrubbed_reports.scrubbed_reports import require_measured_scrubber
from fine_tune_assets.defs.s02_scrubbed_reports.taken_surrogates import batches_with_taken_surrogates
from fine_tune_assets.embeddings.encoder import encode_passages, encoder_version
from fine_tune_assets.phi.missed_identifiers.terms import Terms, holds_missed_terms
from fine_tune_assets.phi.scrubbing import scrubber_version
from fine_tune_assets.tables.stored_tables import StoredTable

GROUP = "s03_unique_reports"
_ONLY_READ = ("reports", "identifier_values")
"""Tables that hold reports back. A change in what they hold back is reported as `missed_identifiers`, or scrubs a batch again."""
MEANINGS = {
    "segments": "different lines, headings and sentences that many patients' reports share",
    "reports_with_some": "reports that hold some of them",
    "reports_of_nothing_else": "reports that consist of nothing else: compared as a whole only",
}


@dg.multi_asset(
    outs=table_outs(
        {
            "unique_reports": "The distinct scrubbed reports of all batches.",
            "duplicate_reports": "Every report that was dropped, which one stays in its place, why, and what they disagree on.",
        },
        group=GROUP,
        owners=OWNERS["data"],
        # A report in which a reviewer sees an identifier leaves before its batch is scrubbed again.
        condition=on_new_inputs_and_at_once(missed_identifiers.key.to_user_string(), untriggered=_ONLY_READ),
        # Named anew when the columns change: both tables are then made once more.
        code_version="what the two disagree on",
    ),
    deps=[*_ONLY_READ, recipe_section("dedup"), missed_identifiers],
    # A batch that could not be scrubbed is left out and must not hold up the others.
    ins={"scrubbed_reports": dg.AssetIn(metadata={"allow_missing_partitions": True})},
    name="drop_duplicates",
)
def drop_duplicates(
    context: dg.AssetExecutionContext,
    installation: Installation,
    scrubbed_reports: dict[str, StoredTable],
    scrub_recall: pa.Table,
) -> Iterator[dg.MaterializeResult[pa.Table]]:
    with errors_for_people(), step_shown(context):
        require_measured_scrubber(installation, scrub_recall)
        version, taken = scrubber_version(installation.recipe.scrub), batches_with_taken_surrogates(installation)
        terms = terms_of(installation)
        chosen = {name: _choose(batch, version, terms, taken) for name, batch in scrubbed_reports.items()}
        found = _found(installation, chosen, context.log.info)
    stored, present = sum(of.stored for of in chosen.values()), sum(of.present for of in chosen.values())
    reports, kinds = sum(of.count for of in chosen.values()), found.duplicates["kind"].to_pylist()
    counts = {
        "reports": reports,
        "unique": found.unique.num_rows,
        "duplicates": found.duplicates.num_rows,
        "scrubbed_by_an_earlier_scrubber": stored - present,
        "held_back": present - reports,
        **{f"dropped_{kind}": kinds.count(kind) for kind in ("exact", "near", "semantic")},
        "dropped_that_disagree": sum(map(bool, found.duplicates["disagrees_on"].to_pylist())),
        **{f"{what}_made": found.made.get(what, 0) for what in ("sketches", "signatures", "vectors")},
        # Counts only: what the lines say is text of reports.
        "boilerplate": markdown_table(
            [
                {"left out of the comparison": meaning, "count": found.boilerplate.get(name, 0)}
                for name, meaning in MEANINGS.items()
            ]
        ),
    }
    yield result("unique_reports", found.unique, fingerprint_table(found.unique), **counts)
    yield result("duplicate_reports", found.duplicates, fingerprint_table(found.duplicates), **counts)


@dataclass(frozen=True)
class ChosenReports:
    """The reports of a batch that go on."""

    batch: StoredTable
    is_chosen: pa.BooleanArray
    stored: int
    present: int
    """Of these the present scrubber left so many."""

    @property
    def count(self) -> int:
        return self.is_chosen.true_count

    def select(self, names: Sequence[str]) -> pa.Table:
        table = self.batch.select(names)
        return table if self.count == self.stored else table.filter(self.is_chosen)


def _choose(batch: StoredTable, scrubber: str, terms: Terms, taken: Collection[str]) -> ChosenReports:
    """Those that the present scrubber left and that nothing holds back. `taken`: batches with surrogates that occur in a report
    since; they choose others by themselves, and are compared then."""
    facts = batch.select(["batch", "scrubber_version", "patient_key"])
    # What an earlier scrubber left stays behind: a rule that was added for a leak is of no use otherwise.
    is_present = pc.equal(facts["scrubber_version"], scrubber)
    texts = [batch.select(["tagged_text"])["tagged_text"]] if terms else []
    held_back = holds_missed_terms(facts["patient_key"], texts, terms)
    is_taken = pc.is_in(facts["batch"], pa.array(sorted(taken), pa.string()))
    chosen = pc.and_(is_present, pc.invert(pc.or_(held_back, is_taken)))
    is_chosen = pa.concat_arrays(chosen.chunks) if chosen.num_chunks else pa.array([], pa.bool_())
    return ChosenReports(batch, is_chosen, facts.num_rows, pc.sum(is_present).as_py() or 0)


def _found(installation: Installation, batches: Mapping[str, ChosenReports], tell: Callable[[str], None]) -> Duplicates:
    """In this process, although a model runs: the encoder needs onnxruntime and no torch."""
    settings, threads = installation.recipe.dedup, threads_of(installation)
    return find_among(
        batches,
        settings,
        lambda done, total, what: tell(f"{done} of {total} {what}"),
        encode=partial(encode_passages, threads=threads),
        encoder_version=encoder_version(),
        kept=Store(installation.layout.cache / "dedup"),
        threads=threads,
    )


@dg.asset_check(
    asset="unique_reports", blocking=True, description="Every report is either kept or named as a duplicate."
)
def no_report_is_lost(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    said = stored_metadata(context.instance, "unique_reports")
    counts = {name: int(said[name]) for name in ("reports", "unique", "duplicates")}
    return checked(counts["reports"] == counts["unique"] + counts["duplicates"], **counts)


@dg.asset_check(
    asset="unique_reports",
    additional_deps=["held_reports"],
    additional_ins={"duplicate_reports": dg.AssetIn("duplicate_reports")},
    description="Every report that could be read is here, named as a duplicate or held back: no batch waits for the scrubber.",
)
def no_batch_is_left_behind(
    installation: Installation, unique_reports: StoredTable, duplicate_reports: pa.Table
) -> dg.AssetCheckResult:
    reports, held = installation.stored("reports").folder, installation.stored("held_reports").folder
    missing = missing_by_batch(reports, held, unique_reports.select(["report_id"]), duplicate_reports)
    return warned(not missing, missing_by_batch=dg.MetadataValue.json(missing))
