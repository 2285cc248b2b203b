"""A data set on its way to approved examples: imported as drafts, read, scrubbed and drafted by the code of every batch."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fine_tune_assets.approval.approvals import approve_examples
from fine_tune_assets.approval.drafts import draft_examples
from fine_tune_assets.cli.dataset_commands import WantedImport, import_dataset
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.instructions.set_exports import chatml_name
from fine_tune_assets.instructions.stored_sets import write_instruction_set
from fine_tune_assets.phi.table_scrubber import ScrubJob, ScrubOutputs, scrub_report_table
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.recipes.schema import RowTask
from fine_tune_assets.reports.archives import ReadLimits
from fine_tune_assets.reports.batch_reader import read_batch
from fine_tune_assets.tables.approval_rows import DraftedExample
from fine_tune_assets.tables.correction_rows import ScrubbedCorrection
from fine_tune_assets.tables.dedup_rows import UniqueReport
from fine_tune_assets.tables.record_classes import conform, iter_records
from fine_tune_assets_tests.clinical_domain import PACK
from fine_tune_assets_tests.instructions.examples import SEARCH, built

SOURCE = "faq"
TASK = RowTask("faq", "rows")
RECIPE = load_recipe("demo_smollm2")
SECRET = b"s" * 32


def imported(layout: Layout, path: Path, **changes: Any) -> pa.Table:
    """The reports that stage 1 reads from an import of `path`."""
    done = import_dataset(layout, path, WantedImport("drafts", "faq", SOURCE, "", **changes), is_dry_run=False)
    result = read_batch(done.folder, "faq", SECRET, ReadLimits())
    assert result.unreadable.num_rows == 0
    return result.reports


def drafted(reports: pa.Table) -> list[DraftedExample]:
    unique = conform(
        reports.select([n for n in UniqueReport.SCHEMA.names if n in reports.column_names]), UniqueReport.SCHEMA
    )
    return list(
        iter_records(DraftedExample, draft_examples(unique, ScrubbedCorrection.SCHEMA.empty_table(), [TASK], pack=PACK))
    )


def scrubbed(folder: Path, reports: pa.Table) -> pa.Table:
    paths = {name: folder / f"{name}.parquet" for name in ("scrubbed", "spans", "withheld", "values")}
    write_table(folder / "reports.parquet", reports)
    job = ScrubJob(RECIPE.scrubber, SECRET, folder / "cache", [], date(2026, 3, 1))
    scrub_report_table(folder / "reports.parquet", job, ScrubOutputs(**paths), ignore_progress)
    return pq.read_table(paths["scrubbed"])


ROWS = [
    {
        "instruction": "Summarize the call.",
        "input": "PLAN: Call Margaret Quillfeather on 555-201-4477 before the visit.",
        "output": "Margaret Quillfeather is called before the visit.",
        "case": "MRN-5583901",
    },
    {
        "instruction": "Answer the question of a ward.",
        "input": "Where is the form for leave of case MRN-5583902?",
        "output": "The form is on the second page of the handbook.",
        "case": "MRN-5583902",
    },
]


def test_rows_are_scrubbed_and_keep_their_parts(tmp_path: Path) -> None:
    """Stated and found identifiers are removed; the markers between the parts are not."""
    path = tmp_path / "faq.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    reports = imported(Layout(tmp_path / "data"), path, subject_column="case")
    drafts = {draft.report_id: draft for draft in drafted(scrubbed(tmp_path, reports))}
    assert sorted(drafts) == ["faq/file1-row1", "faq/file1-row2"]
    first, second = (drafts[name] for name in sorted(drafts))
    assert (first.instruction, second.instruction) == (ROWS[0]["instruction"], ROWS[1]["instruction"])
    assert first.input.startswith("PLAN: Call ")
    assert second.output == ROWS[1]["output"]
    texts = " ".join([first.input, first.output, second.input])
    assert not any(value in texts for value in ("Quillfeather", "555-201-4477", "5583902"))


def test_a_trusted_source_approves_its_rows_and_any_other_waits(tmp_path: Path) -> None:
    """The recipe decides, as for any other batch."""
    path = tmp_path / "faq.jsonl"
    path.write_text(json.dumps({"instruction": "Where is the form?", "output": "On the second page."}))
    reports = imported(Layout(tmp_path / "data"), path)
    unique = conform(
        reports.select([n for n in UniqueReport.SCHEMA.names if n in reports.column_names]), UniqueReport.SCHEMA
    )
    drafts = draft_examples(unique, ScrubbedCorrection.SCHEMA.empty_table(), [TASK], pack=PACK)
    trusted = approve_examples(drafts, [], {SOURCE: "Authors of the handbook"}, RECIPE.review, {})
    assert trusted.approved["approved_by"].to_pylist() == ["Authors of the handbook"]
    waiting = approve_examples(drafts, [], {}, RECIPE.review, {})
    assert (waiting.approved.num_rows, waiting.waiting) == (0, 1)


@pytest.mark.parametrize("split", ["train", "test"])
def test_an_exported_set_comes_back_as_drafts_with_the_same_fingerprints(tmp_path: Path, split: str) -> None:
    """A decision about an example is bound to its fingerprint. General data comes back too."""
    made = built()
    folder = write_instruction_set(tmp_path / "sets", made, {"seed": 7}, SEARCH).folder
    drafts = drafted(imported(Layout(tmp_path / "data"), folder / chatml_name(split)))
    rows = [row for row in made.provenance.to_pylist() if row["split"] == split]
    assert sorted(draft.fingerprint for draft in drafts) == sorted(row["fingerprint"] for row in rows)
