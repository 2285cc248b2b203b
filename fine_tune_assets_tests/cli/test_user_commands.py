"""`fine-tune users`: the words on the terminal, and that a password never is one of them."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fine_tune_assets.cli.identity import operating_system_user
from fine_tune_assets.cli.main import main
from fine_tune_assets.core.settings import PREFIX, Settings
from fine_tune_assets.ledger.audit.audit_log import list_entries
from fine_tune_assets.ledger.database import open_ledger

PASSWORD = "seven grey herons at dusk"


@pytest.fixture(autouse=True)
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}DATA_DIR", str(tmp_path))


def run(*words: str, password: str = PASSWORD) -> Result:
    return CliRunner().invoke(main, ["users", *words], input=f"{password}\n")


def recorded_actors(data_dir: Path) -> set[str]:
    return {entry.actor for entry in list_entries(open_ledger(Settings(data_dir=data_dir)))}


def listed_labels() -> list[str]:
    (user,) = json.loads(run("list", "--json").stdout)
    return list(user["labels"])


def test_changes_of_users_and_keys_record_the_operating_system_user(tmp_path: Path) -> None:
    """The audit log must not call everyone with a shell by the same name."""
    run("add", "Operator One", "--role", "operator")
    for words in (("labels", "--label", "hr"), ("roles", "--role", "operator", "--role", "user"), ("link",)):
        assert run(words[0], "Operator One", *words[1:]).exit_code == 0
    assert CliRunner().invoke(main, ["keys", "create", "app"]).exit_code == 0
    assert recorded_actors(tmp_path) == {operating_system_user()}


def test_a_user_is_added_listed_changed_and_disabled() -> None:
    """All that an operator needs before there is an operator."""
    assert run("add", "Operator One", "--role", "operator", "--role", "auditor").exit_code == 0
    assert run("add", "Reviewer One", "--role", "reviewer").exit_code == 0
    assert run("roles", "reviewer one", "--role", "approver").exit_code == 0
    assert run("reset-password", "Reviewer One", password="nine loud geese at dawn").exit_code == 0
    assert run("disable", "Reviewer One").exit_code == 0
    listed = run("list").output
    assert "operator auditor" in listed
    assert "disabled" in next(line for line in listed.splitlines() if "approver" in line)
    assert run("enable", "Reviewer One").exit_code == 0
    assert "disabled" not in run("list").output


def test_labels_are_given_shown_and_taken_away() -> None:
    """A user sees documents of these labels when asking on the desk."""
    assert run("add", "Reader One", "--role", "user", "--label", "hr").exit_code == 0
    assert listed_labels() == ["hr"]
    assert run("labels", "reader one", "--label", "pharmacy", "--label", "hr").output.strip().endswith("pharmacy, hr")
    assert listed_labels() == ["hr", "pharmacy"]
    assert run("labels", "Reader One").exit_code == 0
    assert listed_labels() == []
    refused = run("labels", "Reader One", "--label", "Human Resources")
    assert (refused.exit_code, listed_labels()) == (1, [])


def test_a_password_is_read_from_standard_input_and_never_printed() -> None:
    """No option takes one: the shell's history and the list of processes would keep it."""
    added = run("add", "Reviewer One", "--role", "reviewer")
    assert PASSWORD not in added.output
    assert "password" not in " ".join(option for option in run("add", "--help").output.split() if option[:2] == "--")


def test_the_last_operator_cannot_be_disabled_and_the_error_says_why() -> None:
    """One line that says what to do, and status 1."""
    run("add", "Operator One", "--role", "operator")
    refused = run("disable", "Operator One")
    assert refused.exit_code == 1
    assert "last operator" in refused.output


def test_a_user_with_oidc_sign_in_needs_no_password() -> None:
    """Their password is the provider's."""
    assert run("add", "Reviewer One", "--role", "reviewer", "--oidc", "https://login.example|one").exit_code == 0
    assert "OIDC" in run("list").output
