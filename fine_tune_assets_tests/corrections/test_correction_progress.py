"""An author sees how far a correction is, and why it is not used. Before, they were only counted."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.corrections.correction_progress import MEANINGS, CorrectionState, decide_state, list_progress
from fine_tune_assets.corrections.correction_table import list_withheld_corrections
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.reviews.correction_records import AuthoredCorrection, record_correction
from fine_tune_assets.ledger.reviews.review_items import sync_items
from fine_tune_assets.ledger.reviews.review_rows import NewItem
from fine_tune_assets.tables.correction_rows import WithheldCorrection
from fine_tune_assets_tests.ledger.ledger_rows import record_promoted
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger

NOW = datetime(2026, 11, 28, tzinfo=UTC)
SENT = AuthoredCorrection("c", "r-1", NOW)
MARKER = "Zyxomarkwort"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path)


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    ledger = fresh_ledger(settings)
    record_promoted(ledger, "r-1")
    yield ledger
    ledger.close()


def send(ledger: Ledger, author: str, number: int = 0) -> str:
    texts = dict.fromkeys(("instruction", "input", "answer", "corrected_answer"), f"{MARKER} {number}")
    return record_correction(
        ledger, b"k" * 32, release_id="r-1", author=author, idempotency_key=f"{author}{number}", **texts
    )


def ids(*values: str) -> pa.Table:
    return pa.table({"correction_id": pa.array(values, pa.string())})


def test_what_the_scrubber_left_out_is_listed_until_a_run_scrubs_it() -> None:
    withheld = list_withheld_corrections(ids("a", "b", "c"), ids("b"), ["c"], "v")
    assert withheld.schema == WithheldCorrection.SCHEMA
    assert withheld["correction_id"].to_pylist() == ["a", "c"]
    assert withheld["has_identifiers"].to_pylist() == [True, False]
    assert list_withheld_corrections(ids("a", "b"), ids("a", "b"), [], "v").num_rows == 0


def test_an_author_sees_own_corrections_only_newest_first_and_without_text(settings: Settings, ledger: Ledger) -> None:
    """In any spelling of the name that is the same person."""
    first, second = send(ledger, "Dr. Ward", 1), send(ledger, "dr.  WARD", 2)
    send(ledger, "Someone Else")
    found = list_progress(settings.layout, ledger, "Dr. Ward", 10)
    assert [one.correction_id for one in found] == [second, first]
    assert {one.state for one in found} == {CorrectionState.RECEIVED}
    assert MARKER not in str(found)
    assert [one.correction_id for one in list_progress(settings.layout, ledger, "Dr. Ward", 1)] == [second]


def test_a_correction_that_was_not_scrubbed_says_so_and_why(settings: Settings, ledger: Ledger) -> None:
    """Two causes were named together, and the author shortened a text that contained a name."""
    withheld, other, named = (send(ledger, "Ward", number) for number in (1, 2, 3))
    table = list_withheld_corrections(ids(withheld, other, named), ids(other), [withheld], "v")
    write_table(settings.layout.table("withheld_corrections"), table)
    states = {one.correction_id: one for one in list_progress(settings.layout, ledger, "Ward", 10)}
    assert states[withheld].state is CorrectionState.NOT_SCRUBBED
    assert ("time or memory" in states[withheld].reason, "remained" in states[withheld].reason) == (True, False)
    assert states[named].state is CorrectionState.HAS_IDENTIFIERS
    assert ("time or memory" in states[named].reason, "remained" in states[named].reason) == (False, True)
    assert states[other].state is CorrectionState.RECEIVED
    write_table(settings.layout.table("withheld_corrections"), WithheldCorrection.SCHEMA.empty_table())
    assert {one.state for one in list_progress(settings.layout, ledger, "Ward", 10)} == {CorrectionState.RECEIVED}


@pytest.mark.parametrize(
    ("quarantine", "item", "state"),
    [
        (None, None, CorrectionState.RECEIVED),
        ("pending", None, CorrectionState.QUARANTINED),
        ("blocked", "approved", CorrectionState.BLOCKED),
        ("rejected", None, CorrectionState.REJECTED),
        ("clear", None, CorrectionState.ACCEPTED),
        ("accepted", "waiting", CorrectionState.IN_REVIEW),
        ("clear", "disagreement", CorrectionState.IN_REVIEW),
        ("clear", "rejected", CorrectionState.REJECTED),
        ("clear", "approved", CorrectionState.APPROVED),
    ],
)
def test_each_step_has_its_state(
    settings: Settings, ledger: Ledger, quarantine: str | None, item: str | None, state: CorrectionState
) -> None:
    """Of real rows of the queue."""
    correction = send(ledger, "Ward")
    rows = {} if quarantine is None else {"correction_id": [correction], "state": [quarantine]}
    if rows:
        write_table(settings.layout.table("quarantined_corrections"), pa.table(rows))
    if item is not None:
        facts = {"example_id": "e", "fingerprint": "f", "report_id": f"correction/{correction}", "subject_key": "s"}
        sync_items(ledger, [new_item(**facts, state=item)], NOW)
    (found,) = list_progress(settings.layout, ledger, "Ward", 10)
    assert found.state is state


def new_item(example_id: str, fingerprint: str, report_id: str, subject_key: str, state: str) -> NewItem:
    return NewItem(
        example_id, fingerprint, report_id, subject_key, line="main", task="t", source="correction", author="Ward",
        is_trusted=False, flag_count=0, flag_kinds=(), state=state, decided_by=(),
    )  # fmt: skip


def test_a_later_run_that_leaves_it_out_again_outweighs_an_old_quarantine() -> None:
    """Its earlier text is not what would be trained."""
    assert decide_state(SENT, {"c": False}, {"c": "clear"}, None) is CorrectionState.NOT_SCRUBBED


def test_no_state_tells_an_author_why_the_quarantine_stopped_a_correction() -> None:
    """It would be a guide to passing it."""
    assert set(MEANINGS) == set(CorrectionState)
    for word in ("outlier", "approved answer", "identical", "contradict"):
        assert not any(word in meaning for meaning in MEANINGS.values())
