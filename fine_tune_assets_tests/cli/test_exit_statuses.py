"""Exit statuses tell a script what happened: 0 done, 1 failed, 2 wrong usage, 3 a closed gate, 4 does not fit.

That a plan which does not fit ends with 4 is in test_plan_command.py.
"""

from pathlib import Path

import pytest
from click.testing import CliRunner

from fine_tune_assets.cli.main import main
from fine_tune_assets.core.errors import (
    DOES_NOT_FIT,
    FAILED,
    GATE_CLOSED,
    ContextLengthError,
    FineTuneError,
    GateClosedError,
)
from fine_tune_assets.core.keys import SignatureError
from fine_tune_assets.core.settings import PREFIX, Settings
from fine_tune_assets.ledger.serving.verdict_documents import DOCUMENT, write_document
from fine_tune_assets_tests.cli.command_tree import LEAVES, TREE
from fine_tune_assets_tests.ledger.ledger_rows import make_verdict

USAGE = 2


def status(*words: str, entered: str = "") -> int:
    return CliRunner().invoke(main, words, input=entered).exit_code


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv(f"{PREFIX}DATA_DIR", str(tmp_path))
    return Settings(data_dir=tmp_path)


def test_each_kind_of_error_has_its_status() -> None:
    """Scripts rely on the documented statuses."""
    assert (FAILED, USAGE, GATE_CLOSED, DOES_NOT_FIT) == (1, 2, 3, 4)
    assert FineTuneError.exit_status == FAILED
    assert GateClosedError.exit_status == SignatureError.exit_status == GATE_CLOSED
    assert ContextLengthError.exit_status == DOES_NOT_FIT


def test_a_changed_document_closes_the_gate(settings: Settings) -> None:
    """Its signature is no longer valid."""
    verdict = make_verdict("hold")
    write_document(settings.layout.verdicts, settings.layout.keys, verdict)
    document = settings.layout.verdicts / verdict.verdict_id / DOCUMENT
    assert status("verdicts", "verify", verdict.verdict_id) == 0
    document.write_bytes(document.read_bytes().replace(b'"hold"', b'"promote"'))
    assert status("verdicts", "verify", verdict.verdict_id) == GATE_CLOSED


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize(
    "words",
    [
        ("verdicts", "show", "nothing"),
        ("trace", "release", "nothing"),
        ("recipe", "check", "nothing"),
        ("releases", "deploy", "nothing"),
        ("review", "list"),
        ("users", "link", "unknown"),
        ("keys", "revoke", "nothing"),
        ("phi", "withdraw", "nothing"),
        ("rollback",),
    ],
    ids=" ".join,
)
def test_any_other_failure_ends_with_1_and_one_line(words: tuple[str, ...]) -> None:
    """A traceback doesn't help an operator, and may quote a report."""
    done = CliRunner().invoke(main, words)
    assert done.exit_code == FAILED, done.output
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.stderr.startswith("Error: ")
    assert done.stdout == ""


@pytest.mark.parametrize("path", TREE, ids=" ".join)
def test_an_unknown_option_is_wrong_usage_at_every_level(path: tuple[str, ...]) -> None:
    assert status(*path, "--no-such-option") == USAGE


@pytest.mark.parametrize("path", [path for path in TREE if path not in LEAVES], ids=" ".join)
def test_an_unknown_command_is_wrong_usage_in_every_group(path: tuple[str, ...]) -> None:
    assert status(*path, "no-such-command") == USAGE


@pytest.mark.parametrize(
    "words",
    [
        ("review", "approve", "e"),
        ("verdicts", "sign", "v"),
        ("subjects", "erase", "7-7-7", "--reason", "x"),
        ("subjects", "erase", "a" * 64),
        ("plan", "demo_smollm2", "--gpu-memory", "0"),
        ("plan", "demo_smollm2", "--gpu-memory", "many"),
        ("users", "add", "Ann", "--role", "owner"),
        ("scrub",),
        ("completion",),
        ("batch", "check", "/no/such/folder"),
    ],
    ids=" ".join,
)
def test_missing_and_wrong_arguments_are_wrong_usage(words: tuple[str, ...]) -> None:
    assert status(*words) == USAGE
