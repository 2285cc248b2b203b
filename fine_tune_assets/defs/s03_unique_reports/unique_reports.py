"""Stage 3: joins the scrubbed reports of all batches and drops duplicates. `dedup/` computes the similarity."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.dedup.duplicates import Duplicates, find_duplicates_in_batches
from fine_tune_assets.dedup.sketch_store import FileStore
from fine_tune_assets.defs.platform.automation import on_new_inputs_or_source
from fine_tune_assets.defs.platform.cross_group_search import count_threads
from fine_tune_assets.defs.platform.metadata import (
    OWNERS,
    bar_table,
    check_result,
    markdown_table,
    read_metadata,
    table_outs,
    table_result,
    warning_result,
)
from fine_tune_assets.defs.platform.recipe_versions import code_version
from fine_tune_assets.defs.platform.resources import Installation, tracked_step, user_facing_errors
from fine_tune_assets.defs.s02_scrubbed_reports.missed_identifiers import load_missed_terms, missed_identifiers
from fine_tune_assets.defs.s02_scrubbed_reports.rescrub_requests import collisions_by_batch
from fine_tune_assets.defs.s02_scrubbed_reports.scrubbed_reports import require_measured_scrubber
from fine_tune_assets.embeddings.encoder import encode_passages, encoder_version
from fine_tune_assets.ledger.reviews.erasures import list_erased_subjects
from fine_tune_assets.lineage.account import COLUMNS, AccountFacts, count_tables
from fine_tune_assets.lineage.account_reasons import COMPARE, SCRUB, WITHHELD
from fine_tune_assets.lineage.account_tables import read_columns
from fine_tune_assets.phi.missed_identifiers.missed_terms import TermsBySubject, flag_missed_terms
from fine_tune_assets.phi.scrubber import scrubber_version
from fine_tune_assets.phi.spans.vocabulary import Vocabulary
from fine_tune_assets.tables.dedup_rows import UncomparedReason, UncomparedReport
from fine_tune_assets.tables.record_classes import conform
from fine_tune_assets.tables.stored_tables import ChangedTableError, StoredTable

GROUP = "s03_unique_reports"
MAX_RETRIES = 3
"""Times that a run compares the reports again because a batch was scrubbed meanwhile. After that it fails."""
RETRY_PAUSE_SECONDS = 5
_IGNORED_INPUTS = ("reports",)
"""Tables that decide which reports are withheld. A relevant change updates `missed_identifiers`, or scrubs a batch again."""
COMPARED_TABLES = (
    "reports",
    "withheld_reports",
    "scrubbed_reports",
    "unique_reports",
    "duplicate_reports",
    "uncompared_reports",
)
"""Tables of the account that decide whether a report was compared."""
BOILERPLATE_COUNTS = {
    "segments": "distinct lines and sentences that many subjects share",
    "reports_with_boilerplate": "reports that contain boilerplate",
    "reports_of_boilerplate_only": "reports of boilerplate only, compared in full",
}


@dg.multi_asset(
    outs=table_outs(
        {
            "unique_reports": "The distinct scrubbed reports of all batches.",
            "duplicate_reports": "Every dropped report, with the report that is kept instead, the reason, and their conflicts.",
        },
        group=GROUP,
        owners=OWNERS["data"],
        # A report with a marked identifier is removed before its batch is scrubbed again.
        condition=on_new_inputs_or_source("missed_identifiers", ignored=_IGNORED_INPUTS),
        # Change this when the columns change, so that both tables are rebuilt.
        code_version=code_version("dedup", own="4"),  # adds conflicting reports
    ),
    deps=[*_IGNORED_INPUTS, missed_identifiers],
    # A batch that could not be scrubbed is skipped and must not block the others.
    ins={"scrubbed_reports": dg.AssetIn(metadata={"allow_missing_partitions": True})},
    name="drop_duplicates",
)
def drop_duplicates(
    context: dg.AssetExecutionContext,
    installation: Installation,
    scrubbed_reports: dict[str, StoredTable],
    scrub_recall: pa.Table,
) -> Iterator[dg.MaterializeResult[pa.Table]]:
    with user_facing_errors(), tracked_step(context):
        require_measured_scrubber(installation, scrub_recall)
        version, collisions = scrubber_version(installation.recipe.scrubber), collisions_by_batch(installation)
        terms, vocabulary = load_missed_terms(installation), installation.vocabulary
        try:
            eligible = {
                name: _select_eligible(batch, version, terms, collisions, vocabulary)
                for name, batch in scrubbed_reports.items()
            }
            found = _find_duplicates(installation, eligible, context.log.info)
        except ChangedTableError:  # a batch was scrubbed again meanwhile
            if context.retry_number < MAX_RETRIES:
                raise dg.RetryRequested(max_retries=MAX_RETRIES, seconds_to_wait=RETRY_PAUSE_SECONDS) from None
            raise
    uncompared = pa.concat_tables([UncomparedReport.SCHEMA.empty_table(), *(b.uncompared for b in eligible.values())])
    installation.stored("uncompared_reports").write(uncompared)
    installation.stored("conflicting_reports").write(found.conflicting)
    earlier = pc.sum(pc.equal(uncompared["reason"], UncomparedReason.EARLIER_SCRUBBER.value)).as_py() or 0
    reports, kinds = sum(batch.count for batch in eligible.values()), found.duplicates["kind"].to_pylist()
    counts = {
        "reports": reports,
        "unique": found.unique.num_rows,
        "duplicates": found.duplicates.num_rows,
        "from_earlier_scrubber": earlier,
        "withheld": uncompared.num_rows - earlier,
        **{f"dropped_{kind}": kinds.count(kind) for kind in ("exact", "near", "semantic")},
        "kept_with_conflicts": found.conflicting.num_rows,
        "dropped_with_disagreement": sum(map(bool, found.duplicates["conflicts"].to_pylist())),
        **{f"{what}_made": found.computed.get(what, 0) for what in ("sketches", "signatures", "vectors")},
        "by_kind": bar_table(
            "reports",
            {"unique": found.unique.num_rows, **{k: kinds.count(k) for k in ("exact", "near", "semantic")}},
        ),
        # Counts only, since boilerplate is report text.
        "boilerplate": markdown_table(
            [
                {"excluded from the comparison": meaning, "count": found.boilerplate.get(name, 0)}
                for name, meaning in BOILERPLATE_COUNTS.items()
            ]
        ),
    }
    yield table_result("unique_reports", found.unique, fingerprint_table(found.unique), **counts)
    yield table_result("duplicate_reports", found.duplicates, fingerprint_table(found.duplicates), **counts)


@dataclass(frozen=True)
class EligibleReports:
    """The reports of a batch that are compared: scrubbed by the current scrubber and not withheld."""

    batch: StoredTable
    is_eligible: pa.BooleanArray
    uncompared: pa.Table
    """`UncomparedReport` rows of the others."""

    @property
    def count(self) -> int:
        return self.is_eligible.true_count

    def select(self, names: Sequence[str]) -> pa.Table:
        table = self.batch.select(names)
        return table if self.count == len(self.is_eligible) else table.filter(self.is_eligible)


def _select_eligible(
    batch: StoredTable,
    scrubber: str,
    terms: TermsBySubject,
    colliding_batches: Collection[str],
    vocabulary: Vocabulary,
) -> EligibleReports:
    """Select the reports of a batch to compare.

    `colliding_batches` have surrogates that are real values in another report. They are scrubbed again automatically, and
    compared after that.
    """
    columns = batch.select(["report_id", "batch", "scrubber_version", "subject_key"])
    # Reports of an earlier scrubber are excluded: otherwise a rule that closes a leak would have no effect on them.
    is_current = pc.equal(columns["scrubber_version"], scrubber)
    texts = [batch.select(["tagged_text"])["tagged_text"]] if terms else []
    is_withheld = flag_missed_terms(columns["subject_key"], texts, terms, vocabulary)
    is_colliding = pc.is_in(columns["batch"], pa.array(sorted(colliding_batches), pa.string()))
    reason = pc.if_else(is_withheld, UncomparedReason.MARKED_IDENTIFIER.value, pa.scalar(None, pa.string()))
    reason = pc.if_else(is_colliding, UncomparedReason.SURROGATE_COLLISION.value, reason)
    reason = pc.if_else(is_current, reason, UncomparedReason.EARLIER_SCRUBBER.value)
    mask = pc.is_null(reason)
    is_eligible = pa.concat_arrays(mask.chunks) if mask.num_chunks else pa.array([], pa.bool_())
    rows = pa.table({"report_id": columns["report_id"], "reason": reason}).filter(pc.invert(mask))
    return EligibleReports(batch, is_eligible, conform(rows, UncomparedReport.SCHEMA))


def _find_duplicates(
    installation: Installation, batches: Mapping[str, EligibleReports], log: Callable[[str], None]
) -> Duplicates:
    """Runs in this process, since the encoder needs onnxruntime but not torch."""
    settings, threads = installation.recipe.dedup, count_threads(installation)
    return find_duplicates_in_batches(
        batches,
        settings,
        lambda done, total, unit: log(f"{done} of {total} {unit}"),
        encode=partial(encode_passages, threads=threads),
        encoder_version=encoder_version(),
        store=FileStore(installation.layout.cache / "dedup"),
        threads=threads,
    )


@dg.asset_check(
    asset="unique_reports", blocking=True, description="Every report is either kept or listed as a duplicate."
)
def every_report_is_unique_or_duplicate(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    metadata = read_metadata(context.instance, "unique_reports")
    counts = {name: int(metadata[name]) for name in ("reports", "unique", "duplicates")}
    return check_result(counts["reports"] == counts["unique"] + counts["duplicates"], **counts)


@dg.asset_check(
    asset="unique_reports",
    additional_deps=["scrubbed_reports", "duplicate_reports"],
    description="Every readable report is kept, listed as a duplicate, or withheld. No batch is waiting for the scrubber.",
)
def every_readable_report_is_accounted_for(installation: Installation) -> dg.AssetCheckResult:
    missing = count_uncompared_by_batch(installation)
    return warning_result(not missing, missing_by_batch=dg.MetadataValue.json(missing))


def count_uncompared_by_batch(installation: Installation) -> dict[str, int]:
    """Reports that were not scrubbed or not compared, as in the account. Other checks report withheld ones."""
    installation.tables_folder(*COMPARED_TABLES)
    tables = {name: read_columns(installation.layout, name, *COLUMNS[name]) for name in COMPARED_TABLES}
    with installation.ledger() as ledger:
        erased = list_erased_subjects(ledger)
    account = count_tables(AccountFacts(tables, erased)).complete({}, {})
    counts = Counter[str]()
    for omission in account.omissions:
        reason = omission.reason
        if reason.stage in (SCRUB, COMPARE) and not reason.is_expected and reason.name not in WITHHELD:
            counts[omission.batch] += omission.count
    return dict(sorted(counts.items()))
