"""`fine-tune review` against a real ledger, from the list to the approved table."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fine_tune_assets.approval.approving import Approval
from fine_tune_assets.cli.review import review
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.ledger.database import open_ledger
from fine_tune_assets.ledger.reviews import list_decisions
from fine_tune_assets_tests.approval.examples import approve, corrections, drafts

DRAFTS = drafts(source="elsewhere", authors=("ward-key",))
(CORRECTION,) = [draft for draft in DRAFTS.to_pylist() if draft["source"] == "correction"]
(REPORT,) = [draft for draft in DRAFTS.to_pylist() if draft["source"] != "correction"]


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FINE_TUNE_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("FINE_TUNE_LEDGER_URL", raising=False)
    write_table(Layout(tmp_path).table("drafted_examples"), DRAFTS)
    write_table(Layout(tmp_path).table("scrubbed_corrections"), corrections("ward-key"))
    return tmp_path


def call(*arguments: str) -> Result:
    return CliRunner().invoke(review, arguments)


def approval_of(data_dir: Path) -> Approval:
    ledger = open_ledger(f"sqlite:///{data_dir / 'ledger' / 'ledger.db'}")
    try:
        return approve(DRAFTS, list_decisions(ledger), {}, {"correction/c1": "ward-key"})
    finally:
        ledger.close()


def test_a_draft_that_is_approved_leaves_the_list_and_reaches_the_approved_table(data_dir: Path) -> None:
    """The way of one example through the hands of a reviewer."""
    assert "2 waiting" in call("list").output
    assert REPORT["output"] in call("show", REPORT["example_id"]).output
    assert call("approve", REPORT["example_id"], "--reviewer", "expert-1").exit_code == 0
    listed = call("list").output
    assert REPORT["example_id"] not in listed
    assert "1 waiting" in listed
    (row,) = approval_of(data_dir).approved.to_pylist()
    assert (row["example_id"], row["approved_by"]) == (REPORT["example_id"], "expert-1")


def test_a_repaired_output_is_read_from_a_file(data_dir: Path) -> None:
    """Most drafts need a word changed, not a rejection."""
    (data_dir / "repaired.txt").write_text("Rest and ice.\n")
    arguments = ["--reviewer", "expert-1", "--output-file", str(data_dir / "repaired.txt")]
    assert call("approve", REPORT["example_id"], *arguments).exit_code == 0
    assert approval_of(data_dir).approved.column("output").to_pylist() == ["Rest and ice."]


def test_a_rejected_draft_leaves_the_list_and_is_not_approved(data_dir: Path) -> None:
    """A no is a decision too."""
    assert call("reject", REPORT["example_id"], "--reviewer", "expert-1", "--reason", "wrong dose").exit_code == 0
    assert "1 waiting" in call("list").output
    assert (approval_of(data_dir).rejected, approval_of(data_dir).approved.num_rows) == (1, 0)


def test_the_author_of_a_correction_is_refused(data_dir: Path) -> None:
    """The gate closes at the desk already, with the reason."""
    refused = call("approve", CORRECTION["example_id"], "--reviewer", "Ward-Key")
    assert refused.exit_code == 1
    assert "Another reviewer has to decide" in refused.output
    assert approval_of(data_dir).waiting == 2
    assert call("approve", CORRECTION["example_id"], "--reviewer", "expert-1").exit_code == 0
    assert approval_of(data_dir).waiting == 1


def test_an_empty_repair_and_an_unknown_draft_are_refused(data_dir: Path) -> None:
    """A slip must not become training data."""
    (data_dir / "empty.txt").write_text(" \n")
    arguments = ["--reviewer", "expert-1", "--output-file", str(data_dir / "empty.txt")]
    assert "is empty" in call("approve", REPORT["example_id"], *arguments).output
    assert "There is no draft nothing" in call("approve", "nothing", "--reviewer", "expert-1").output
    assert approval_of(data_dir).waiting == 2


def test_without_drafts_the_command_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first thing that a new user tries."""
    monkeypatch.setenv("FINE_TUNE_DATA_DIR", str(tmp_path))
    assert "Materialise drafted_examples first" in call("list").output
