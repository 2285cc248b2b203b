"""Whom a command records: the operating-system user, never a typed name."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fine_tune_assets.cli.identity import operating_system_user
from fine_tune_assets.cli.main import main
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.core.settings import PREFIX, load_settings
from fine_tune_assets.ledger.audit.audit_log import list_entries
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_errors import LedgerError
from fine_tune_assets.ledger.people.users import list_users
from fine_tune_assets_tests.approval.examples import drafts
from fine_tune_assets_tests.approval.submissions import submit
from fine_tune_assets_tests.cli.command_tree import LEAVES, TREE
from fine_tune_assets_tests.cli.desk_users import OS_USER, add_user
from fine_tune_assets_tests.conftest import write_recipe
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger

DRAFTS = drafts(source="elsewhere")


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    monkeypatch.setenv(f"{PREFIX}DATA_DIR", str(tmp_path))
    monkeypatch.setenv(f"{PREFIX}RECIPE", str(write_recipe(tmp_path, review={"reviewers": 2})))
    write_table(Layout(tmp_path).table("drafted_examples"), DRAFTS)
    ledger = fresh_ledger(load_settings())
    yield ledger
    ledger.close()


def call(*words: str) -> Result:
    return CliRunner().invoke(main, words, input="seven grey herons at dusk\n")


@pytest.mark.parametrize("name", ["os:root", "OS:root", " os:root", "o\u200bs:root", "ｏｓ：root"])
def test_a_desk_user_can_not_be_named_like_an_operating_system_user(ledger: Ledger, name: str) -> None:
    """Their decisions would be attributed to another person."""
    before = list_users(ledger)
    with pytest.raises(LedgerError):
        add_user(ledger, name)
    assert call("users", "add", name).exit_code == 1
    assert list_users(ledger) == before


def test_environment_variables_do_not_change_who_is_recorded(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anyone can set USER; the kernel sets the user id of the process."""
    for variable in ("USER", "LOGNAME", "USERNAME", "SUDO_USER"):
        monkeypatch.setenv(variable, "eve")
    assert operating_system_user() == OS_USER
    assert call("review", "list").exit_code == 0
    add_user(ledger, "Reviewer One")
    submit(ledger, DRAFTS.to_pylist()[0], "Reviewer One")
    exported = tmp_path / "decisions.jsonl"
    assert call("review", "export", "--output", str(exported)).exit_code == 0
    line = json.loads(exported.read_text())
    add_user(ledger, "Reviewer Two", "reviewer")
    exported.write_text(json.dumps({**line, "id": "new", "reviewer": "Reviewer Two"}))
    done = call("review", "import", str(exported))
    assert done.exit_code == 0, done.output
    actors = [entry.actor for entry in list_entries(ledger) if entry.action == "imported a proposal"]
    assert actors == [OS_USER]


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_no_command_has_an_option_for_the_acting_person(path: tuple[str, ...]) -> None:
    """The former `--by NAME` recorded any typed name. Label Studio's `--reviewer` maps annotators, whose proposals wait."""
    options = {name for option in TREE[path].params for name in option.opts}
    assert not options & {"--by", "--approver"}
    assert "--reviewer" not in options or path == ("review", "import-label-studio")
