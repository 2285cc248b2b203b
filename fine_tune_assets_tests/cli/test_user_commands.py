"""`fine-tune users`: the first operator, and an operator who is locked out. Everybody else is managed on the desk."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fine_tune_assets.cli.identity import operating_system_user
from fine_tune_assets.cli.main import main
from fine_tune_assets.core.settings import PREFIX, Settings
from fine_tune_assets.ledger.audit.audit_log import list_entries
from fine_tune_assets.ledger.database import open_ledger
from fine_tune_assets.ledger.people.users import LOCKOUT_THRESHOLD, disable_user, set_roles, sign_in
from fine_tune_assets_tests.cli.desk_users import PASSWORD, add_users

NEW_PASSWORD = "nine loud geese at dawn"


@pytest.fixture(autouse=True)
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv(f"{PREFIX}DATA_DIR", str(tmp_path))
    return Settings(data_dir=tmp_path)


def run(*words: str, password: str = PASSWORD) -> Result:
    return CliRunner().invoke(main, ["users", *words], input=f"{password}\n")


def listed() -> dict[str, dict[str, object]]:
    return {user["name"]: user for user in json.loads(run("list", "--json").stdout)}


def test_the_first_operator_is_added_with_further_roles() -> None:
    assert run("add", "Operator One", "--role", "auditor").exit_code == 0
    assert listed()["Operator One"]["roles"] == ["operator", "auditor"]


def test_a_second_user_is_added_on_the_desk_only() -> None:
    """Whoever has a shell could otherwise make themselves a reviewer or an approver, without an operator's name."""
    run("add", "Operator One")
    for words in (("Approver One", "--role", "approver"), ("Operator Two",)):
        refused = run("add", *words)
        assert (refused.exit_code, list(listed())) == (1, ["Operator One"])
        assert "Operator One" in refused.stderr
        assert "desk" in refused.stderr


def test_the_user_demo_and_a_disabled_operator_do_not_prevent_a_first_operator(installation: Settings) -> None:
    """`demo` signs in by link; an installation whose operators are gone must not be locked for good."""
    assert run("link").exit_code == 0
    assert run("add", "Operator One").exit_code == 0
    ledger = open_ledger(installation)
    disable_user(ledger, "Operator One", now=datetime.now(UTC))
    assert run("add", "Operator Two").exit_code == 0
    set_roles(ledger, "Operator Two", ["operator", "user"])
    assert run("add", "Operator Three").exit_code == 1
    ledger.close()


def test_a_locked_operator_gets_a_new_password(installation: Settings) -> None:
    run("add", "Operator One")
    ledger, now = open_ledger(installation), datetime.now(UTC)
    for _ in range(LOCKOUT_THRESHOLD):
        sign_in(ledger, "Operator One", "wrong", now=now, source="desk")
    assert sign_in(ledger, "Operator One", PASSWORD, now=now, source="desk") is None
    assert run("reset-password", "operator one", password=NEW_PASSWORD).exit_code == 0
    assert sign_in(ledger, "Operator One", NEW_PASSWORD, now=datetime.now(UTC), source="desk") is not None
    ledger.close()


@pytest.mark.parametrize("words", [("reset-password",), ("link",)])
@pytest.mark.parametrize("name", ["Reviewer One", "Approver One", "Nobody Known"])
def test_nobody_with_a_shell_signs_in_as_a_reviewer_or_approver(words: tuple[str, ...], name: str) -> None:
    """They could sign decisions under that name."""
    run("add", "Operator One")
    add_users("Reviewer One")
    add_users("Approver One", role="approver")
    refused = run(*words, name, password=NEW_PASSWORD)
    assert refused.exit_code == 1
    assert "not an enabled operator" in refused.stderr
    assert "/sign-in/link" not in refused.output


def test_changes_of_users_and_keys_record_the_operating_system_user(installation: Settings) -> None:
    """The audit log must not call everyone with a shell by the same name."""
    for words in (("add", "Operator One"), ("link", "Operator One"), ("reset-password", "Operator One")):
        assert run(*words).exit_code == 0
    assert CliRunner().invoke(main, ["keys", "create", "app"]).exit_code == 0
    assert {entry.actor for entry in list_entries(open_ledger(installation))} == {operating_system_user()}


def test_a_password_is_read_from_standard_input_and_never_printed() -> None:
    """No option takes one: the shell's history and the list of processes would keep it."""
    assert PASSWORD not in run("add", "Operator One").output
    assert "password" not in " ".join(option for option in run("add", "--help").output.split() if option[:2] == "--")


def test_an_operator_with_oidc_sign_in_needs_no_password() -> None:
    """Their password is the provider's."""
    assert run("add", "Operator One", "--oidc", "https://login.example|one").exit_code == 0
    assert "OIDC" in run("list").output
