"""A small installation for the desk's tests: reports, their scrubbed form, drafts and the queue, written as stages do.

The notes are short and invented. `MISSED` is a name that the scrubber missed in the first one.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from fine_tune_assets.approval.drafts import correction_authors, draft_examples
from fine_tune_assets.approval.dropped_reports import DroppedReports, ScrubbedText
from fine_tune_assets.approval.review_actions import refresh_items
from fine_tune_assets.core.files import write_table, write_text
from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.recipes.loader import load_recipe, shipped_recipes
from fine_tune_assets.tables.approval_rows import DraftedExample, ModelDraft
from fine_tune_assets.tables.correction_rows import ScrubbedCorrection
from fine_tune_assets.tables.dedup_rows import DuplicateReport, UniqueReport
from fine_tune_assets.tables.record_classes import conform, iter_records, table_from_rows
from fine_tune_assets.tables.report_rows import Report
from fine_tune_assets.tables.scrubbing_rows import ScrubbedReport
from fine_tune_assets_tests.changed_settings import changed
from fine_tune_assets_tests.clinical_domain import PACK
from fine_tune_assets_tests.conftest import COMPLAINT_TASKS, SMALL_GATE

BATCH = "2026-05-ward"
SOURCE = "ward"
MISSED = "Quillfeather"
"""In the raw and the scrubbed text of the first note: an identifier that was missed."""
INVENTED = "Mara Linden"
_NOTE = """\
HISTORY OF PRESENT ILLNESS
{name} is a {rate}-year-old man with two days of cough and a temperature of 38.4 C. No chest pain. He takes lisinopril 10 mg
daily and metformin 500 mg twice a day. {extra}

EXAMINATION
Blood pressure 138/86, heart rate 96. Crackles at the right base. No oedema of the legs.

CHIEF COMPLAINT
{complaint}
"""
_FILLER = """\
He slept badly, took fluids well and walked to the window with one person's help. Oxygen saturation stayed between 93 and 96 %
on two litres. The cough brought up yellow sputum, less than yesterday. Urine was clear, bowels opened once."""
COMPLAINTS = (
    "Cough and fever for 3 days, temperature 38.4 C.",
    "Cough and fever, right base.",
    "Two days of cough with fever.",
    "Fever. Cough since two days, on lisinopril 20 mg.",
    "Cough.",
    "Cough and fever; no chest pain.",
)


def fill(
    settings: Settings,
    ledger: Ledger,
    *,
    count: int = 6,
    review: dict[str, Any] | None = None,
    filler: int = 0,
    **fields: Any,
) -> Settings:
    """Write the tables and the queue, and return the settings with the recipe that they were made by.

    `filler` lengthens each note by so many paragraphs. `fields` replace fields of the recipe.
    """
    recipe = write_recipe(settings.data_dir, review or {}, **fields)
    texts = [_texts(number, filler) for number in range(count)]
    raw = [{**_row(n, raw), "origin_file": f"{n}.txt", "known_identifiers": []} for n, (raw, _, _) in enumerate(texts)]
    write_table(
        settings.layout.table("reports", BATCH), table_from_rows(_with_absent(raw, Report.SCHEMA), Report.SCHEMA)
    )
    scrubbed = [
        {**_row(n, text), "tagged_text": tagged, "span_count": 1, "scrubber_version": "test"}
        for n, (_, text, tagged) in enumerate(texts)
    ]
    scrubbed_table = table_from_rows(_with_absent(scrubbed, ScrubbedReport.SCHEMA), ScrubbedReport.SCHEMA)
    write_table(settings.layout.table("scrubbed_reports", BATCH), scrubbed_table)
    own = changed(settings, recipe=str(recipe))
    draft(own, ledger)
    return own


def write_recipe(data: Path, review: dict[str, Any], judge: dict[str, Any] | None = None, **fields: Any) -> Path:
    values = yaml.safe_load(shipped_recipes()["demo_smollm2"].read_text(encoding="utf-8"))
    values["review"] = {**values["review"], **review}
    values["judge"] = {**values["judge"], **(judge or {})}
    values["tasks"] += COMPLAINT_TASKS
    values["gate"] |= SMALL_GATE
    values |= fields
    names = {task["name"] for task in values["tasks"]}
    values["gate"]["untested_tasks"] = dict.fromkeys(names, "Not tested here.")
    path = data / "recipe.yaml"
    write_text(path, yaml.safe_dump(values))
    return path


def draft(settings: Settings, ledger: Ledger, passage_template: str | None = None) -> None:
    """Draft again from the scrubbed reports and refresh the queue."""
    scrubbed = pq.read_table(settings.layout.table("scrubbed_reports", BATCH))
    texts, recipe = list(iter_records(ScrubbedText, scrubbed)), load_recipe(settings.recipe)
    path = settings.layout.table("duplicate_reports")
    duplicates = (
        conform(pq.read_table(path), DuplicateReport.SCHEMA) if path.is_file() else DuplicateReport.SCHEMA.empty_table()
    )
    gone = set(duplicates["dropped_id"].to_pylist())
    unique = [row for row in scrubbed.to_pylist() if row["report_id"] not in gone]
    drafts = draft_examples(
        table_from_rows(_with_absent(unique, UniqueReport.SCHEMA), UniqueReport.SCHEMA),
        _corrections(settings),
        recipe.tasks,
        read_model_drafts(settings),
        reviewed_flags=recipe.reviewed_flags,
        dropped_reports=DroppedReports(duplicates, lambda ids: [text for text in texts if text.report_id in ids]),
        passage_template=passage_template,
        pack=PACK,
    )
    write_table(settings.layout.table("drafted_examples"), drafts)
    refresh_queue(settings, ledger)


def read_model_drafts(settings: Settings) -> pa.Table:
    path = settings.layout.table("model_drafts")
    return conform(pq.read_table(path), ModelDraft.SCHEMA) if path.is_file() else ModelDraft.SCHEMA.empty_table()


def refresh_queue(settings: Settings, ledger: Ledger) -> None:
    """Refresh the queue from the current drafts and decisions."""
    drafts = conform(pq.read_table(settings.layout.table("drafted_examples")), DraftedExample.SCHEMA)
    recipe, authors = load_recipe(settings.recipe), correction_authors(_corrections(settings))
    refresh_items(ledger, drafts, recipe.name, recipe.trusted_sources, recipe.review, authors, datetime.now(UTC))


def _corrections(settings: Settings) -> pa.Table:
    path = settings.layout.table("scrubbed_corrections")
    return (
        conform(pq.read_table(path), ScrubbedCorrection.SCHEMA)
        if path.is_file()
        else ScrubbedCorrection.SCHEMA.empty_table()
    )


def add_copy(settings: Settings, ledger: Ledger) -> str:
    """Add the first note again under another patient's name and key; return the id of that report."""
    raw, text, tagged = _texts(0, 0)
    row = {**_row(0, raw.replace("Otto Reiher", "Emil Storch")), "report_id": f"{BATCH}/copy"}
    row["subject_key"] = fingerprint_text("patient of the copy")
    stored = {"origin_file": "copy.txt", "known_identifiers": [], "span_count": 1, "scrubber_version": "test"}
    scrubbed = {**row, **stored, "text": text.replace(INVENTED, "Ida Kranich"), "tagged_text": tagged}
    for name, schema, added in (
        ("reports", Report.SCHEMA, {**row, **stored}),
        ("scrubbed_reports", ScrubbedReport.SCHEMA, scrubbed),
    ):
        path = settings.layout.table(name, BATCH)
        rows = [*pq.read_table(path).to_pylist(), added]
        write_table(path, table_from_rows(_with_absent(rows, schema), schema))
    draft(settings, ledger)
    return str(row["report_id"])


def add_dropped(settings: Settings, ledger: Ledger, output: str) -> str:
    """A near copy of the second note arrives, with another output, and is dropped for it; the id of the note that stays."""
    _, text, tagged = (note.replace(COMPLAINTS[1], output) for note in _texts(1, 0))
    row = {**_row(1, text), "report_id": f"{BATCH}/near", "subject_key": fingerprint_text("patient of the near copy")}
    path = settings.layout.table("scrubbed_reports", BATCH)
    added = {**row, "tagged_text": tagged, "span_count": 1, "scrubber_version": "test"}
    kept = pq.read_table(path).to_pylist()
    write_table(path, table_from_rows(_with_absent([*kept, added], ScrubbedReport.SCHEMA), ScrubbedReport.SCHEMA))
    pair = {"dropped_id": row["report_id"], "kept_id": f"{BATCH}/00001", "kind": "near", "similarity": 0.9}
    pair |= {"reason": "The longer text stays.", "conflicts": ["numbers"], "fingerprint": row["fingerprint"]}
    write_table(settings.layout.table("duplicate_reports"), table_from_rows([pair], DuplicateReport.SCHEMA))
    draft(settings, ledger)
    return pair["kept_id"]


def add_correction(
    settings: Settings,
    ledger: Ledger,
    author: str,
    passages: list[dict[str, Any]] | None = None,
    template: str | None = None,
    **fields: Any,
) -> None:
    """A user's better answer arrives, scrubbed, and is drafted. `fields` are further columns of its row."""
    row: dict[str, Any] = {
        "correction_id": "c1",
        "release_id": "r",
        "author": author,
        "subject_key": "user",
        "input": "",
    }
    row["passages"] = passages
    row |= {"instruction": "Which dose?", "output": "Ask the pharmacist.", **fields}
    write_table(settings.layout.table("scrubbed_corrections"), table_from_rows([row], ScrubbedCorrection.SCHEMA))
    draft(settings, ledger, template)


def drafts_of(settings: Settings) -> list[dict[str, Any]]:
    """In the order of the queue: most flags first, then by id."""
    rows = pq.read_table(settings.layout.table("drafted_examples")).select(DraftedExample.SCHEMA.names).to_pylist()
    return sorted(rows, key=lambda row: (-len(row["flags"]), row["example_id"]))


def scrub_again(settings: Settings, ledger: Ledger, term: str) -> None:
    """What the next run does with a mark: the term is gone from every scrubbed report."""
    path = settings.layout.table("scrubbed_reports", BATCH)
    rows = pq.read_table(path).to_pylist()
    for row in rows:
        row["text"] = row["text"].replace(term, INVENTED)
        row["tagged_text"] = row["tagged_text"].replace(term, "[NAME]")
    write_table(path, table_from_rows(rows, ScrubbedReport.SCHEMA))
    draft(settings, ledger)


def _texts(number: int, filler: int) -> tuple[str, str, str]:
    """Raw, scrubbed and tagged."""
    extra = (f"Seen with {MISSED}." if number == 0 else "") + f"\n{_FILLER}" * filler

    def note(name: str) -> str:
        complaint = COMPLAINTS[number % len(COMPLAINTS)]
        return _NOTE.format(name=name, extra=extra, rate=number + 20, complaint=complaint)

    return note("Otto Reiher"), note(INVENTED), note("[NAME]")


def _row(number: int, text: str) -> dict[str, Any]:
    return {
        "report_id": f"{BATCH}/{number:05}",
        "batch": BATCH,
        "source": SOURCE,
        "subject_key": fingerprint_text(f"patient {number}"),
        "text": text,
        "fingerprint": fingerprint_text(text),
    }


def _with_absent(rows: Sequence[dict[str, Any]], schema: Any) -> list[dict[str, Any]]:
    return [{name: row.get(name) for name in schema.names} for row in rows]
