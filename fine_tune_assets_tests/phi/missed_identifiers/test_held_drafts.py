"""Which drafts wait for a report to be scrubbed again, while marks come and go and tables are written anew."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.missed_identifiers import withdraw_mark
from fine_tune_assets.phi.missed_identifiers.held_drafts import HeldBack
from fine_tune_assets.phi.missed_identifiers.marks import mark_missed
from fine_tune_assets_tests.desk.installation import BATCH, draft, drafts_of, fill
from fine_tune_assets_tests.ledger.fresh import fresh_ledger

KEY = secrets.token_bytes(32)


class Ward:
    """Six drafts of six patients, and one HeldBack that is asked again and again, as pages do."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self.ledger, self.settings = ledger, fill(settings, ledger)
        self.held = HeldBack(ledger, KEY, self.settings.layout)

    def mark(self, number: int, term: str) -> str:
        report = f"{BATCH}/{number:05}"
        return mark_missed(
            self.ledger, KEY, self.settings.layout, report_id=report, kind="ID", term=term, marked_by="expert-1"
        )

    def reports_held(self) -> list[str]:
        held = self.held.example_ids()
        return sorted({row["report_id"] for row in drafts_of(self.settings) if row["example_id"] in held})


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Ward]:
    ledger = fresh_ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield Ward(Settings(data_dir=tmp_path / "data", ledger_url=f"sqlite:///{tmp_path / 'ledger.db'}"), ledger)
    ledger.close()


def _age(ward: Ward, number: int) -> str:
    """Words that stand in this note alone."""
    reports = pq.read_table(ward.settings.layout.table("reports", BATCH)).to_pylist()
    text = next(row["text"] for row in reports if row["report_id"] == f"{BATCH}/{number:05}")
    return next(word for word in text.split() if word.endswith("-year-old"))


def test_each_mark_holds_its_own_report_beside_those_of_before(ward: Ward) -> None:
    """Only patients of whom the marks changed are looked through: what was found of the others has to stay."""
    assert ward.reports_held() == []
    ward.mark(1, _age(ward, 1))
    assert ward.reports_held() == [f"{BATCH}/00001"]
    ward.mark(3, _age(ward, 3))
    assert ward.reports_held() == [f"{BATCH}/00001", f"{BATCH}/00003"]


def test_a_second_mark_of_the_same_patient_counts_and_a_withdrawn_one_no_longer(ward: Ward) -> None:
    """A patient who was looked through once is looked through again when something of the marks changes."""
    gone = ward.mark(2, _age(ward, 2))
    assert ward.reports_held() == [f"{BATCH}/00002"]
    second = ward.mark(2, "lisinopril")
    withdraw_mark(ward.ledger, gone, "expert-1")
    assert ward.reports_held() == [f"{BATCH}/00002"]
    withdraw_mark(ward.ledger, second, "expert-1")
    assert ward.reports_held() == []


def test_a_report_that_was_scrubbed_again_is_free(ward: Ward) -> None:
    """What was found is of the tables of then: new tables are looked through, without a new mark."""
    term = _age(ward, 4)
    ward.mark(4, term)
    assert ward.reports_held() == [f"{BATCH}/00004"]
    path = ward.settings.layout.table("scrubbed_reports", BATCH)
    table = pq.read_table(path)
    position = table.schema.get_field_index("text")
    table = table.set_column(position, table.schema.field(position), pc.replace_substring(table["text"], term, "old"))
    write_table(path, table)
    draft(ward.settings, ward.ledger)
    assert ward.reports_held() == []
