"""Which drafts are withheld while marks and tables change."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.identifier_marks import withdraw_mark
from fine_tune_assets.phi.missed_identifiers.marks import mark_missed_identifier
from fine_tune_assets.phi.missed_identifiers.withheld_drafts import WithheldDrafts
from fine_tune_assets_tests.clinical_domain import VOCABULARY
from fine_tune_assets_tests.desk.installation import BATCH, draft, drafts_of, fill
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger

KEY = secrets.token_bytes(32)


class Ward:
    """Six drafts of six subjects, and one WithheldDrafts that answers repeated calls, as from pages."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self.ledger, self.settings = ledger, fill(settings, ledger)
        self.withheld_drafts = WithheldDrafts(ledger, KEY, self.settings.layout, lambda: VOCABULARY)

    def mark(self, number: int, term: str) -> str:
        report = f"{BATCH}/{number:05}"
        return mark_missed_identifier(
            self.ledger,
            KEY,
            self.settings.layout,
            VOCABULARY,
            report_id=report,
            kind="ID",
            term=term,
            marked_by="expert-1",
        )

    def withheld_reports(self) -> list[str]:
        withheld = self.withheld_drafts.example_ids()
        return sorted({row["report_id"] for row in drafts_of(self.settings) if row["example_id"] in withheld})


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Ward]:
    ledger = fresh_ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield Ward(Settings(data_dir=tmp_path / "data", ledger_url=f"sqlite:///{tmp_path / 'ledger.db'}"), ledger)
    ledger.close()


def _age(ward: Ward, number: int) -> str:
    """Words that occur only in this report."""
    reports = pq.read_table(ward.settings.layout.table("reports", BATCH)).to_pylist()
    text = next(row["text"] for row in reports if row["report_id"] == f"{BATCH}/{number:05}")
    return next(word for word in text.split() if word.endswith("-year-old"))


def test_each_mark_adds_its_report_to_those_already_withheld(ward: Ward) -> None:
    """Only subjects with changed marks are searched again; results for the others must be kept."""
    assert ward.withheld_reports() == []
    ward.mark(1, _age(ward, 1))
    assert ward.withheld_reports() == [f"{BATCH}/00001"]
    ward.mark(3, _age(ward, 3))
    assert ward.withheld_reports() == [f"{BATCH}/00001", f"{BATCH}/00003"]


def test_second_mark_of_a_subject_counts_and_a_withdrawn_one_does_not(ward: Ward) -> None:
    """Any change to a subject's marks triggers a new search."""
    first = ward.mark(2, _age(ward, 2))
    assert ward.withheld_reports() == [f"{BATCH}/00002"]
    second = ward.mark(2, "lisinopril")
    withdraw_mark(ward.ledger, first, "expert-1")
    assert ward.withheld_reports() == [f"{BATCH}/00002"]
    withdraw_mark(ward.ledger, second, "expert-1")
    assert ward.withheld_reports() == []


def test_rescrubbed_report_is_released(ward: Ward) -> None:
    """Cached results belong to the old tables: new tables are searched without a new mark."""
    term = _age(ward, 4)
    ward.mark(4, term)
    assert ward.withheld_reports() == [f"{BATCH}/00004"]
    path = ward.settings.layout.table("scrubbed_reports", BATCH)
    table = pq.read_table(path)
    position = table.schema.get_field_index("text")
    table = table.set_column(position, table.schema.field(position), pc.replace_substring(table["text"], term, "old"))
    write_table(path, table)
    draft(ward.settings, ward.ledger)
    assert ward.withheld_reports() == []
