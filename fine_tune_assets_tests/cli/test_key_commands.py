"""`fine-tune keys`: a printed key opens the gateway within its limits until it expires."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fine_tune_assets.cli.main import main
from fine_tune_assets.core.permissions import SCOPES
from fine_tune_assets.core.settings import PREFIX, load_settings
from fine_tune_assets.ledger.people.api_keys import KeyCheck, check_key, list_keys
from fine_tune_assets.ledger.people.users import create_user
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger


@pytest.fixture(autouse=True)
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}DATA_DIR", str(tmp_path))


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["keys", *words])


def checked(secret: str, after: timedelta = timedelta(0)) -> KeyCheck:
    ledger = fresh_ledger(load_settings())
    try:
        return check_key(ledger, secret, datetime.now(UTC) + after)
    finally:
        ledger.close()


def test_the_limits_and_the_days_of_a_key_are_those_of_the_options() -> None:
    """A limit that the command drops would never be enforced."""
    limits = ("--days", "2", "--requests-per-minute", "7", "--tokens-per-day", "900")
    limits += ("--open-requests", "3", "--share", "2")
    ledger = fresh_ledger(load_settings())
    create_user(ledger, "Ada", ["user"], password=None, oidc_identity=None, now=datetime.now(UTC), can_use_link=True)
    ledger.close()
    made = run("create", "ward 3", "--scope", "chat", "--scope", "correct", "--user", "Ada", *limits)
    assert made.exit_code == 0
    secret = made.stdout.strip()
    holder = checked(secret).api_key
    assert holder is not None
    assert (holder.name, holder.requests_per_minute, holder.tokens_per_day) == ("ward 3", 7, 900)
    assert (holder.open_requests, holder.share, holder.owner) == (3, 2, "Ada")
    assert set(holder.scopes) == {"chat", "correct"}
    assert checked(secret, timedelta(hours=47)).outcome == "ok"
    assert checked(secret, timedelta(hours=49)).outcome == "expired"
    (row,) = json.loads(run("list", "--json").stdout)
    assert (row["name"], row["requests_per_minute"], row["tokens_per_day"]) == ("ward 3", 7, 900)
    assert row["state"].startswith("valid until")
    assert (row["share"], row["user"]) == (2, "Ada")
    assert secret not in run("list").output


def test_the_help_names_every_scope() -> None:
    """The help has a copy of the scopes, because reading them from the code would import the ledger."""
    page = " ".join(run("create", "-h").output.split())
    assert [scope for scope in SCOPES if scope not in page] == []


@pytest.mark.parametrize("option", ["--days", "--requests-per-minute", "--tokens-per-day"])
def test_a_limit_of_zero_is_refused_and_creates_no_key(option: str) -> None:
    """0 could be mistaken for no limit."""
    refused = run("create", "ward 3", option, "0")
    assert (refused.exit_code, option in refused.output) == (2, True)
    ledger = fresh_ledger(load_settings())
    assert list_keys(ledger) == []
    ledger.close()


def test_a_rotated_key_opens_with_both_secrets_until_the_grace_is_over() -> None:
    """The application switches to the new secret in between, without downtime."""
    old = run("create", "ward 3", "--requests-per-minute", "7").stdout.strip()
    before = checked(old).api_key
    assert before is not None
    rotated = run("rotate", before.key_id, "--grace", "2")
    new = rotated.stdout.strip()
    assert (rotated.exit_code, new != old) == (0, True)
    holder = checked(new).api_key
    assert holder is not None
    assert (holder.key_id, holder.name, holder.requests_per_minute) == (before.key_id, "ward 3", 7)
    assert checked(old, timedelta(hours=1)).outcome == "ok"
    assert checked(old, timedelta(hours=3)).outcome == "unknown"
    assert checked(new, timedelta(hours=3)).outcome == "ok"
    at_once = run("rotate", before.key_id, "--grace", "0").stdout.strip()
    assert (checked(new).outcome, checked(at_once).outcome) == ("unknown", "ok")


def test_an_unknown_key_can_not_be_rotated() -> None:
    """The command prints one line with the next command, and exits with 1."""
    refused = run("rotate", "nobody")
    assert (refused.exit_code, "fine-tune keys list" in refused.output) == (1, True)
