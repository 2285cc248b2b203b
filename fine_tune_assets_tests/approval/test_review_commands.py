"""`fine-tune review` against a real ledger: the queue, and the exchange of decisions with other tools."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fine_tune_assets.approval.approvals import Approval
from fine_tune_assets.cli.main import main
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.core.shared_records import Decision
from fine_tune_assets.ledger.audit.audit_log import list_entries
from fine_tune_assets.ledger.reviews.decision_records import list_decisions
from fine_tune_assets.ledger.reviews.review_rows import STATES
from fine_tune_assets.lineage.final_text_findings import write_findings
from fine_tune_assets.tables.instruction_rows import FinalTextFinding
from fine_tune_assets_tests.approval.examples import approve, corrections, drafts
from fine_tune_assets_tests.approval.submissions import submit
from fine_tune_assets_tests.cli.desk_users import OS_USER, add_users
from fine_tune_assets_tests.conftest import write_recipe
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger

DRAFTS = drafts(source="elsewhere", authors=("ward-key",))
(CORRECTION,) = [draft for draft in DRAFTS.to_pylist() if draft["source"] == "correction"]
(REPORT,) = [draft for draft in DRAFTS.to_pylist() if draft["source"] != "correction"]


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FINE_TUNE_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("FINE_TUNE_LEDGER_URL", raising=False)
    write_table(Layout(tmp_path).table("drafted_examples"), DRAFTS)
    write_table(Layout(tmp_path).table("scrubbed_corrections"), corrections("ward-key"))
    add_users("expert-1", "Ann", "Ben", "Ward-Key")
    add_users("Cleo", role="approver")
    return tmp_path


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ("review", *arguments))


def decide(draft: dict[str, Any], who: str, what: str = "approve", output: str | None = None) -> str:
    """As on the desk, about a draft in the queue, which each command brings up to date."""
    ledger = fresh_ledger(load_settings())
    try:
        return submit(ledger, draft, who, what, output)
    finally:
        ledger.close()


def rows(*arguments: str) -> Any:
    return json.loads(call(*arguments, "--json").stdout)


def waiting() -> list[str]:
    return [row["example_id"] for row in rows("list")]


def decisions(data_dir: Path) -> list[Decision]:
    ledger = fresh_ledger(f"sqlite:///{data_dir / 'ledger' / 'ledger.db'}")
    try:
        return list_decisions(ledger)
    finally:
        ledger.close()


def audited(action: str) -> list[str]:
    """Who did this, by the audit log."""
    ledger = fresh_ledger(load_settings())
    try:
        return [entry.actor for entry in list_entries(ledger) if entry.action == action]
    finally:
        ledger.close()


def approval_of(data_dir: Path) -> Approval:
    ledger = fresh_ledger(f"sqlite:///{data_dir / 'ledger' / 'ledger.db'}")
    try:
        return approve(DRAFTS, list_decisions(ledger), {}, {"correction/c1": "ward-key"})
    finally:
        ledger.close()


def test_a_draft_that_is_approved_leaves_the_list(data_dir: Path) -> None:
    """People decide on the desk; the command shows what is left."""
    assert len(waiting()) == 2
    assert REPORT["output"] in call("show", REPORT["example_id"]).output
    decide(REPORT, "expert-1")
    assert waiting() == [CORRECTION["example_id"]]
    (row,) = approval_of(data_dir).approved.to_pylist()
    assert (row["example_id"], row["approved_by"]) == (REPORT["example_id"], "expert-1")


def test_an_unknown_draft_is_refused(data_dir: Path) -> None:  # noqa: ARG001
    assert call("show", "nothing").exit_code == 1


def test_without_drafts_the_command_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first thing that a new user tries."""
    monkeypatch.setenv("FINE_TUNE_DATA_DIR", str(tmp_path))
    assert "fine-tune materialize drafted_examples" in call("list").output


@pytest.mark.usefixtures("data_dir")
def test_progress_names_its_columns_in_a_pipe_too() -> None:
    """Seven numbers without names say nothing."""
    titles = call("progress").output.splitlines()[0].split()
    assert titles == ["task", *STATES]


@pytest.fixture
def two_reviewers(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = write_recipe(data_dir, review={"reviewers": 2, "own_edits": "second_person"})
    monkeypatch.setenv("FINE_TUNE_RECIPE", str(path))
    return data_dir


@pytest.mark.usefixtures("two_reviewers")
def test_a_first_decision_is_shown_only_after_the_second() -> None:
    """The second reviewer decides without knowing the first decision, and nobody signs in here."""
    example_id = REPORT["example_id"]
    waiting()
    assert decide(REPORT, "Ann", output="Rest and ice.") == "second_review"
    assert rows("show", example_id)["decisions"] == []
    assert decide(REPORT, "Ben", "reject") == "disagreement"
    assert [row["example_id"] for row in rows("list", "--state", "disagreement")] == [example_id]
    assert [entry["reviewer"] for entry in rows("show", example_id)["decisions"]] == ["Ann", "Ben"]
    assert next(row for row in rows("agreement") if row["group"] == "all")["raw"] == 0


@pytest.mark.usefixtures("data_dir")
def test_progress_without_drafts_does_not_look_like_lost_decisions(data_dir: Path) -> None:
    """While reports were scrubbed again, it said "0 of 0 are open" after 239 signatures."""
    write_table(Layout(data_dir).table("drafted_examples"), DRAFTS.slice(0, 0))
    assert "recorded decisions are kept" in call("progress").output


def test_imported_decisions_are_proposals_that_can_be_listed_and_withdrawn(data_dir: Path) -> None:
    """Bad lines are named, and status 1 says so. No password was given, so nothing is approved."""
    waiting()
    decide(REPORT, "Ann")
    file = data_dir / "decisions.jsonl"
    assert "1 decisions written" in call("export", "--output", str(file)).output
    assert file.stat().st_mode & 0o077 == 0
    again = call("import", str(file))
    assert (again.exit_code, "0 proposed, 1 already known" in again.output) == (0, True)
    line = json.loads(file.read_text())
    facts = {name: CORRECTION[name] for name in ("example_id", "fingerprint")}
    new = {**line, **facts, "id": "new", "reviewer": "Ben", "approved_fingerprint": CORRECTION["fingerprint"]}
    nobody = {**new, "id": "newer", "reviewer": "Nobody Known"}
    file.write_text(f"{json.dumps(line)}\n{{\n{json.dumps(new)}\n{json.dumps(nobody)}\n")
    faulty = call("import", str(file))
    assert (faulty.exit_code, "line 2: " in faulty.stderr, "line 4: " in faulty.stderr) == (1, True, True)
    assert [decision.reviewer for decision in decisions(data_dir)] == ["Ann"]
    assert set(audited("imported a proposal")) == {OS_USER}
    (row,) = rows("proposals")
    assert (row["reviewer"], row["obstacle"]) == ("Ben", "")
    assert "output" not in row
    assert call("withdraw-proposals", "unknown").exit_code == 1
    assert call("withdraw-proposals", row["proposal_id"]).exit_code == 0
    assert (rows("proposals"), audited("withdrew a proposal")) == ([], [OS_USER])


def test_drafts_go_to_label_studio_and_annotations_come_back(data_dir: Path) -> None:
    """A team that has its own tool keeps it."""
    tasks, config, back = (data_dir / name for name in ("tasks.json", "config.xml", "export.json"))
    assert "2 tasks written" in call("export-label-studio", "--output", str(tasks), "--config", str(config)).output
    assert config.read_text().startswith("<View>")
    made = json.loads(tasks.read_text())
    decision = {"from_name": "decision", "to_name": "input", "type": "choices", "value": {"choices": ["approve"]}}
    said = {"id": 1, "completed_by": 3, "was_cancelled": False, "result": [decision]}
    back.write_text(
        json.dumps([{**task, "id": n, "project": 1, "annotations": [{**said, "id": n}]} for n, task in enumerate(made)])
    )
    arguments = [str(back), "--reviewer"]
    unknown = call("import-label-studio", *arguments, "4=Ann")
    assert (unknown.exit_code, rows("proposals")) == (1, [])
    assert call("import-label-studio", *arguments, "3=Ann").exit_code == 0
    assert [row["reviewer"] for row in rows("proposals")] == ["Ann", "Ann"]
    assert set(audited("imported a proposal")) == {OS_USER}
    assert decisions(data_dir) == []
    assert "ANNOTATOR=NAME" in call("import-label-studio", *arguments, "Ann").output


def test_show_prints_the_words_that_the_scan_of_the_final_texts_takes_for_identifiers(data_dir: Path) -> None:
    """The gate's reason names this command; without the words, its reader guesses which ones are meant."""
    waiting()
    decide(REPORT, "expert-1", output="Rest, as Oakbarrow said.")
    (approved,) = approval_of(data_dir).approved.to_pylist()
    common = {"example_id": REPORT["example_id"], "fingerprint": approved["fingerprint"]}
    placed = FinalTextFinding(**common, kind="NAME", part="output", start=9, end=18)
    unplaced = FinalTextFinding(**common, kind="PHONE", part=None, start=None, end=None)
    write_findings(Layout(data_dir).instruction_sets, "a" * 64, [placed, unplaced])
    shown = call("show", REPORT["example_id"]).output
    assert "'Oakbarrow' (NAME, in the output)" in shown
    assert "PHONE 1" in shown
    words = [{"kind": "NAME", "part": "output", "text": "Oakbarrow"}]
    assert rows("show", REPORT["example_id"])["taken_for_identifiers"] == words
