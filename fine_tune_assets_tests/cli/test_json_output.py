"""`--json`: every command that lists or shows something can print JSON, and nothing else, on standard output."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fine_tune_assets.cli.main import main
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.keys import read_or_create_key
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.ledger.encryption import KEY_NAME
from fine_tune_assets.ledger.people.api_keys import create_key
from fine_tune_assets.ledger.reviews.correction_records import record_correction
from fine_tune_assets.ledger.reviews.identifier_marks import record_mark
from fine_tune_assets.ledger.serving.release_records import record_release
from fine_tune_assets.ledger.serving.verdicts import record_verdict
from fine_tune_assets.lineage.training_runs import record_training_run
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets.tables.scrubbing_rows import ScrubRecall
from fine_tune_assets_tests.cli.command_tree import LEAVES, has_json
from fine_tune_assets_tests.cli.desk_users import add_user
from fine_tune_assets_tests.cli.recall_tables import MET
from fine_tune_assets_tests.conftest import DIALOGUES
from fine_tune_assets_tests.ledger.ledger_rows import make_release, make_verdict
from fine_tune_assets_tests.lineage.stored_data import MARKER, TRAINED, example_of, store_examples, store_set
from fine_tune_assets_tests.training.base_models.small_model import write_small_model

SHOWING = {"list", "show", "plan", "status", "tables", "doctor", "check", "progress", "agreement", "search", "key"}
"""Last words of commands that list or show something. Every command below `trace` does."""
VERDICT = make_verdict("promote")
EXAMPLE = example_of(TRAINED)
ARGUMENTS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("audit", "verify"): (),
    ("batch", "check"): (str(DIALOGUES),),
    ("datasets", "check"): (str(PROJECT_DIR / "data" / "general"),),
    ("datasets", "import"): (str(PROJECT_DIR / "data" / "general"), "--name", "more", "--licence", "MIT"),
    ("datasets", "list"): (),
    ("doctor",): (),
    ("keys", "list"): (),
    ("knowledge", "check"): (),
    ("lines", "list"): (),
    ("materialize",): ("--dry-run", "base_models"),
    ("models", "list"): (),
    ("phi", "marks"): ("--all",),
    ("phi", "report"): (),
    ("plan",): ("llama3_8b_qlora_24gb", "--gpu-memory", "24"),
    ("recipe", "check"): ("demo_smollm2",),
    ("recipe", "list"): (),
    ("releases", "list"): (),
    ("review", "agreement"): (),
    ("review", "list"): (),
    ("review", "progress"): (),
    ("review", "show"): (EXAMPLE,),
    ("status",): (),
    ("subjects", "key"): (),
    ("tables",): (),
    ("trace", "example"): (EXAMPLE,),
    ("trace", "release"): ("r-1",),
    ("trace", "subject"): (TRAINED,),
    ("users", "list"): (),
    ("verdicts", "list"): (),
    ("verdicts", "show"): (VERDICT.verdict_id,),
}
ELSEWHERE = {
    ("knowledge", "search"),  # needs a document index: test_knowledge.py
    ("trace", "correction"),  # has a separate test below
    *(("verifier", name) for name in ("adapt", "adaptation", "measure")),  # slow: test_verifier_commands.py
    ("review", "proposals"),  # needs an import: test_review_commands.py
}


@pytest.fixture
def filled(installation_dir: Path) -> Path:
    """An installation with one row of every kind."""
    installation = Installation()
    stored = store_set(installation.layout)
    store_examples(installation.layout)
    record_training_run(installation.layout.adapters, VERDICT.adapter_id, stored.fingerprint, [])
    write_small_model(installation_dir / "base_models" / "small")
    write_table(installation.layout.table("scrub_recall"), table_from_rows(MET, ScrubRecall.SCHEMA))
    with installation.ledger() as ledger:
        add_user(ledger, "Reviewer One")
        create_key(ledger, "ward 3", ("chat",))
        record_verdict(ledger, VERDICT)
        record_release(ledger, make_release(VERDICT, "r-1"))
        record_mark(
            ledger, read_or_create_key(installation.layout.keys, KEY_NAME), report_id="b/1", batch="b",
            subject_key="s" * 64, kind="NAME", term="Zyxomark", labelled_case="{}", marked_by="Reviewer One",
        )  # fmt: skip
    return installation_dir


def call(path: tuple[str, ...], *words: str) -> Result:
    return CliRunner().invoke(main, [*path, *words], input="7-7-7\n")


def is_showing(path: tuple[str, ...]) -> bool:
    return path[-1] in SHOWING or path[0] == "trace"


def test_every_command_that_lists_or_shows_accepts_json() -> None:
    """Otherwise scripts parse columns, and break when a column is added."""
    without = {path for path, command in LEAVES.items() if is_showing(path) and not has_json(command)}
    assert without == set()


def test_every_command_with_json_is_called_below() -> None:
    """A new command is added to the list."""
    assert {path for path, command in LEAVES.items() if has_json(command)} == set(ARGUMENTS) | ELSEWHERE


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("path", ARGUMENTS, ids=" ".join)
def test_a_command_prints_valid_json(path: tuple[str, ...]) -> None:
    """One non-empty document, even if the text form ends with a count."""
    done = call(path, *ARGUMENTS[path], "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert isinstance(found, dict | list)
    assert "object at 0x" not in done.stdout
    if path not in {("review", "agreement"), ("knowledge", "check")}:
        assert found, path


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("path", ARGUMENTS, ids=" ".join)
def test_the_text_form_succeeds_too(path: tuple[str, ...]) -> None:
    """Both forms are built from the same values."""
    done = call(path, *ARGUMENTS[path])
    assert done.exit_code == 0, done.output
    assert done.stdout.strip()


@pytest.mark.usefixtures("filled")
def test_a_trace_of_a_correction_is_valid_json_without_its_text() -> None:
    texts = dict.fromkeys(("instruction", "input", "answer", "corrected_answer"), MARKER)
    installation = Installation()
    with installation.ledger() as ledger:
        key = read_or_create_key(installation.layout.keys, KEY_NAME)
        sent = record_correction(ledger, key, release_id="r-1", author="ward 3", idempotency_key="k", **texts)
    done = call(("trace", "correction"), sent, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["author"] == "ward 3"
    assert MARKER not in done.stdout


EMPTY: dict[tuple[str, ...], Any] = {
    ("keys", "list"): [],
    ("models", "list"): [],
    ("phi", "marks"): [],
    ("releases", "list"): [],
    ("tables",): [],
    ("users", "list"): [],
    ("verdicts", "list"): [],
}


@pytest.mark.usefixtures("installation_dir")
@pytest.mark.parametrize("path", EMPTY, ids=" ".join)
def test_an_empty_list_is_an_empty_array(path: tuple[str, ...]) -> None:
    """Programs get an empty array; people get a sentence that names the next command."""
    assert json.loads(call(path, "--json").stdout) == EMPTY[path]
    if path != ("phi", "marks"):
        assert "`fine-tune " in call(path).stdout
