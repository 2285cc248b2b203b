"""Who a command records: the operating-system user, or a user of the desk who enters their password. A typed name signs
nothing."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

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
from fine_tune_assets.ledger.people.users import LOCKOUT_THRESHOLD, create_user, disable_user, list_users
from fine_tune_assets.ledger.reviews.decision_records import list_decision_records, list_decisions
from fine_tune_assets.ledger.serving.verdicts import list_signers, record_verdict
from fine_tune_assets_tests.approval.examples import drafts
from fine_tune_assets_tests.cli.desk_users import OS_USER, PASSWORD, TYPED, add_user
from fine_tune_assets_tests.conftest import write_recipe
from fine_tune_assets_tests.ledger.ledger_rows import make_verdict
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger

DRAFTS = drafts(source="elsewhere")
DRAFT = DRAFTS.to_pylist()[0]
REVIEWER, APPROVER = "Reviewer One", "Approver One"


@dataclass(frozen=True)
class Site:
    """An installation with a draft, a recorded decision and a verdict on hold."""

    ledger: Ledger
    decision_id: str
    verdict_id: str
    state: Callable[[], object]
    """Everything that a signature changes."""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv(f"{PREFIX}DATA_DIR", str(tmp_path))
    monkeypatch.setenv(f"{PREFIX}RECIPE", str(write_recipe(tmp_path, review={"reviewers": 2})))
    write_table(Layout(tmp_path).table("drafted_examples"), DRAFTS)
    ledger = fresh_ledger(load_settings())
    verdict = make_verdict("hold")
    record_verdict(ledger, verdict)
    add_user(ledger, REVIEWER, "reviewer")
    add_user(ledger, APPROVER, "approver")
    done = call("review", "approve", DRAFT["example_id"], "--reviewer", REVIEWER)
    assert done.exit_code == 0, done.output
    (decision,) = list_decisions(ledger)

    def state() -> object:
        return list_decision_records(ledger), list_signers(ledger, verdict.verdict_id)

    yield Site(ledger, decision.decision_id, verdict.verdict_id, state)
    ledger.close()


def call(*words: str, entered: str = TYPED) -> Result:
    return CliRunner().invoke(main, words, input=entered)


def signatures(site: Site, reviewer: str, approver: str) -> list[tuple[str, ...]]:
    """Each command that signs for a person."""
    example_id = DRAFT["example_id"]
    return [
        ("review", "approve", example_id, "--reviewer", reviewer),
        ("review", "reject", example_id, "--reviewer", reviewer, "--code", "style"),
        ("review", "adjudicate", example_id, "reject", "--reviewer", approver, "--code", "style"),
        ("review", "revoke", site.decision_id, "--reviewer", reviewer, "--reason", "Wrong."),
        ("verdicts", "sign", site.verdict_id, "--approver", approver, "--reason", "Graded by hand."),
    ]


def require_refused(site: Site, reviewer: str, approver: str, entered: str = TYPED) -> None:
    before = site.state()
    for words in signatures(site, reviewer, approver):
        refused = call(*words, entered=entered)
        assert refused.exit_code == 1, (words, refused.output)
        assert refused.stderr.startswith("Error: "), words
        assert PASSWORD not in refused.output
    assert site.state() == before


@pytest.mark.parametrize("entered", ["", "\n", "wrong grey herons at dusk\n", f"{PASSWORD} \n", f"{REVIEWER}\n"])
def test_a_name_without_its_password_signs_nothing(site: Site, entered: str) -> None:
    """Otherwise anyone who can type a name could sign for that person."""
    require_refused(site, REVIEWER, APPROVER, entered)


def test_an_unknown_user_signs_nothing(site: Site) -> None:
    require_refused(site, "Unknown User", "Unknown User")


def test_a_user_without_the_role_signs_nothing(site: Site) -> None:
    """A reviewer can neither approve a verdict nor adjudicate, and an approver can't review a draft."""
    add_user(site.ledger, "Plain User", "user")
    require_refused(site, "Plain User", "Plain User")
    for words in (words for words in signatures(site, APPROVER, REVIEWER) if words[1] != "revoke"):
        assert call(*words).exit_code == 1, words


def test_a_reviewer_revokes_no_decision_of_another_person_and_an_approver_any(site: Site) -> None:
    """As on the desk. Before, every reviewer could revoke every decision here."""
    add_user(site.ledger, "Reviewer Two", "reviewer")
    before, words = site.state(), ("review", "revoke", site.decision_id, "--reason", "Wrong.", "--reviewer")
    assert call(*words, "Reviewer Two").exit_code == 1
    assert site.state() == before
    assert call(*words, APPROVER).exit_code == 0


def test_a_disabled_user_signs_nothing(site: Site) -> None:
    for name in (REVIEWER, APPROVER):
        disable_user(site.ledger, name, now=datetime.now(UTC))
    require_refused(site, REVIEWER, APPROVER)


def test_an_oidc_user_signs_nothing(site: Site) -> None:
    """A user of an OIDC provider has no password that a command could check."""
    identity = {"oidc_identity": "https://login.example|1", "now": datetime.now(UTC)}
    create_user(site.ledger, "Clinic User", ["reviewer", "approver"], password=None, **identity)
    require_refused(site, "Clinic User", "Clinic User")
    require_refused(site, "Clinic User", "Clinic User", entered="\n")


def test_a_locked_user_signs_nothing_even_with_the_password(site: Site) -> None:
    """Password guesses on the command line count as on the desk."""
    before = site.state()
    for name, words in (
        (REVIEWER, signatures(site, REVIEWER, APPROVER)[0]),
        (APPROVER, signatures(site, "", APPROVER)[-1]),
    ):
        for _ in range(LOCKOUT_THRESHOLD):
            assert call(*words, entered="wrong\n").exit_code == 1
        assert call(*words).exit_code == 1
        assert name in [entry.actor for entry in list_entries(site.ledger) if entry.action == "was locked out"]
    assert site.state() == before


def test_a_signature_records_the_name_of_the_user(site: Site) -> None:
    """The spelling of the user record is used, not the typed one."""
    words = signatures(site, "reviewer  one", "APPROVER ONE")
    assert call(*words[3]).exit_code == 0
    assert call(*words[4]).exit_code == 0
    assert [record.revoked_by for record in list_decision_records(site.ledger)] == [REVIEWER]
    assert list(list_signers(site.ledger, site.verdict_id)) == [APPROVER]


def shown_decisions(*options: str, entered: str = TYPED) -> Any:
    shown = call("review", "show", DRAFT["example_id"], "--json", *options, entered=entered)
    assert shown.exit_code == 0, shown.output
    return json.loads(shown.stdout)["decisions"]


def test_a_first_decision_is_shown_only_with_its_reviewers_password(site: Site) -> None:
    """The second reviewer decides without knowing the first decision, so a typed name must not reveal it."""
    add_user(site.ledger, "Reviewer Two", "reviewer")
    assert shown_decisions() == []
    assert [entry["reviewer"] for entry in shown_decisions("--reviewer", REVIEWER)] == [REVIEWER]
    assert shown_decisions("--reviewer", "Reviewer Two") == []
    refused = call("review", "show", DRAFT["example_id"], "--json", "--reviewer", REVIEWER, entered="wrong\n")
    assert (refused.exit_code, refused.stdout) == (1, "")


@pytest.mark.parametrize("name", ["os:root", "OS:root", " os:root", "o\u200bs:root", "ｏｓ：root"])
def test_a_desk_user_can_not_be_named_like_an_operating_system_user(site: Site, name: str) -> None:
    """Their decisions would be attributed to another person."""
    before = list_users(site.ledger)
    with pytest.raises(LedgerError):
        add_user(site.ledger, name)
    assert call("users", "add", name, "--role", "reviewer").exit_code == 1
    assert list_users(site.ledger) == before


def test_environment_variables_do_not_change_who_is_recorded(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anyone can set USER; the kernel sets the user id of the process."""
    for variable in ("USER", "LOGNAME", "USERNAME", "SUDO_USER"):
        monkeypatch.setenv(variable, "eve")
    assert operating_system_user() == OS_USER
    exported = tmp_path / "decisions.jsonl"
    assert call("review", "export", "--output", str(exported)).exit_code == 0
    line = json.loads(exported.read_text())
    add_user(site.ledger, "Reviewer Two", "reviewer")
    exported.write_text(json.dumps({**line, "id": "new", "reviewer": "Reviewer Two"}))
    done = call("review", "import", str(exported))
    assert done.exit_code == 0, done.output
    actors = [entry.actor for entry in list_entries(site.ledger) if entry.action == "imported a proposal"]
    assert actors == [OS_USER]


@pytest.mark.parametrize(
    "words",
    [
        ("phi", "mark", "add", "b/1", "--kind", "NAME"),
        ("phi", "mark", "withdraw", "m"),
        ("subjects", "erase", "a" * 64, "--reason", "x"),
        ("subjects", "restore", "a" * 64, "--reason", "x"),
        ("review", "revoke", "d", "--reviewer", "x", "--reason", "x"),
        ("review", "import", "FILE"),
        ("review", "withdraw-proposals", "p"),
        ("releases", "remove", "r"),
        ("releases", "prune"),
        ("rollback",),
    ],
)
def test_no_command_has_an_option_for_the_acting_person(words: tuple[str, ...], tmp_path: Path) -> None:
    """The former `--by NAME` recorded any typed name."""
    (tmp_path / "FILE").touch()
    given = [str(tmp_path / word) if word == "FILE" else word for word in words]
    assert call(*given, "--by", "eve").exit_code == 2
