"""`fine-tune users`: the words on the terminal, and that a password never is one of them."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fine_tune_assets.cli.main import main
from fine_tune_assets.core.settings import PREFIX

PASSWORD = "seven grey herons at dusk"


@pytest.fixture(autouse=True)
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}DATA_DIR", str(tmp_path))


def run(*words: str, password: str = PASSWORD) -> Result:
    return CliRunner().invoke(main, ["users", *words], input=f"{password}\n")


def test_a_user_is_added_listed_changed_and_disabled() -> None:
    """All that an operator needs before there is an operator."""
    assert run("add", "Operator One", "--role", "operator", "--role", "auditor").exit_code == 0
    assert run("add", "Reviewer One", "--role", "reviewer").exit_code == 0
    assert run("roles", "reviewer one", "--role", "approver").exit_code == 0
    assert run("reset", "Reviewer One", password="nine loud geese at dawn").exit_code == 0
    assert run("disable", "Reviewer One").exit_code == 0
    listed = run("list").output
    assert "operator auditor" in listed
    assert "disabled" in next(line for line in listed.splitlines() if "approver" in line)
    assert run("enable", "Reviewer One").exit_code == 0
    assert "disabled" not in run("list").output


def test_labels_are_given_shown_and_taken_away() -> None:
    """A user sees documents of these labels when asking on the desk."""
    assert run("add", "Reader One", "--role", "user", "--label", "hr").exit_code == 0
    assert "labels: hr" in run("list").output
    assert run("labels", "reader one", "--label", "pharmacy", "--label", "hr").output.strip().endswith("pharmacy, hr")
    assert "labels: hr pharmacy" in run("list").output
    assert run("labels", "Reader One").exit_code == 0
    assert "labels" not in run("list").output
    refused = run("labels", "Reader One", "--label", "Human Resources")
    assert (refused.exit_code, "A label is a word" in refused.output) == (1, True)


def test_a_password_is_read_from_standard_input_and_never_printed() -> None:
    """No option takes one: the shell's history and the list of processes would keep it."""
    added = run("add", "Reviewer One", "--role", "reviewer")
    assert PASSWORD not in added.output
    assert "password" not in " ".join(option for option in run("add", "--help").output.split() if option[:2] == "--")


def test_the_last_operator_can_not_be_disabled_and_the_reason_is_said() -> None:
    """One line that says what to do, and status 1."""
    run("add", "Operator One", "--role", "operator")
    refused = run("disable", "Operator One")
    assert refused.exit_code == 1
    assert "last operator" in refused.output


def test_who_signs_in_by_oidc_is_not_asked_for_a_password() -> None:
    """Their password is the provider's."""
    assert run("add", "Reviewer One", "--role", "reviewer", "--oidc", "https://login.example|one").exit_code == 0
    assert "OIDC" in run("list").output
