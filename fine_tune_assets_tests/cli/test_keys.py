"""`fine-tune keys`: what is printed is what opens the gateway, within the limits that were asked for, as long as it should."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fine_tune_assets.cli.main import main
from fine_tune_assets.core.settings import PREFIX, load_settings
from fine_tune_assets.ledger.people.api_keys import KeyCheck, check_key, list_keys
from fine_tune_assets_tests.ledger.fresh import fresh_ledger


@pytest.fixture(autouse=True)
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}DATA_DIR", str(tmp_path))


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["keys", *words])


def checked(secret: str, after: timedelta = timedelta(0)) -> KeyCheck:
    ledger = fresh_ledger(load_settings().database_url)
    try:
        return check_key(ledger, secret, datetime.now(UTC) + after)
    finally:
        ledger.close()


def test_the_limits_and_the_days_of_a_key_are_those_of_the_options() -> None:
    """A limit that the command drops is one that nobody has."""
    limits = ("--days", "2", "--requests-per-minute", "7", "--tokens-per-day", "900")
    made = run("create", "ward 3", "--scope", "chat", "--scope", "correct", *limits)
    assert made.exit_code == 0
    secret = made.stdout.strip()
    holder = checked(secret).holder
    assert holder is not None
    assert (holder.name, holder.requests_per_minute, holder.tokens_per_day) == ("ward 3", 7, 900)
    assert set(holder.scopes) == {"chat", "correct"}
    assert checked(secret, timedelta(hours=47)).outcome == "ok"
    assert checked(secret, timedelta(hours=49)).outcome == "expired"
    listed = run("list").output
    for part in ("valid until", "7 requests a minute", "900 tokens a day"):
        assert part in listed, part
    assert secret not in listed


@pytest.mark.parametrize("option", ["--days", "--requests-per-minute", "--tokens-per-day"])
def test_a_limit_of_nothing_is_refused_and_no_key_is_made(option: str) -> None:
    """0 could be read as none."""
    refused = run("create", "ward 3", option, "0")
    assert (refused.exit_code, option in refused.output) == (2, True)
    ledger = fresh_ledger(load_settings().database_url)
    assert list_keys(ledger) == []
    ledger.close()


def test_a_rotated_key_opens_with_both_secrets_until_the_grace_is_over() -> None:
    """The application that uses it is changed in between, without a minute in which nobody gets in."""
    old = run("create", "ward 3", "--requests-per-minute", "7").stdout.strip()
    before = checked(old).holder
    assert before is not None
    rotated = run("rotate", before.key_id, "--grace", "2")
    new = rotated.stdout.strip()
    assert (rotated.exit_code, "for 2 hours" in rotated.stderr, new != old) == (0, True, True)
    holder = checked(new).holder
    assert holder is not None
    assert (holder.key_id, holder.name, holder.requests_per_minute) == (before.key_id, "ward 3", 7)
    assert checked(old, timedelta(hours=1)).outcome == "ok"
    assert checked(old, timedelta(hours=3)).outcome == "unknown"
    assert checked(new, timedelta(hours=3)).outcome == "ok"
    at_once = run("rotate", before.key_id, "--grace", "0").stdout.strip()
    assert (checked(new).outcome, checked(at_once).outcome) == ("unknown", "ok")


def test_a_key_that_there_is_not_can_not_be_rotated() -> None:
    """One line that says what to do, and status 1."""
    refused = run("rotate", "nobody")
    assert (refused.exit_code, "fine-tune keys list" in refused.output) == (1, True)
