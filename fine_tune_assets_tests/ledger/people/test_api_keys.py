from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.errors import LedgerError, UnknownRecordError
from fine_tune_assets.ledger.people.api_keys import KeyLimits, check_key, create_key, list_keys, revoke_key, rotate_key
from fine_tune_assets.ledger.schema import api_keys

NOW = datetime.now(UTC)


def test_a_key_opens_its_scopes_and_no_other(ledger: Ledger) -> None:
    """A key for asking must not be able to write training data."""
    key = create_key(ledger, "ward 3", ["chat"])
    assert check_key(ledger, key.secret, NOW).outcome == "ok"
    holder = check_key(ledger, key.secret, NOW).holder
    assert holder is not None
    assert holder.scopes == ("chat",)


@pytest.mark.parametrize("presented", ["", "x", "fta_", "fta__", "fta_0_0", "Bearer", "fta_ä_ö", "_" * 5])
def test_what_is_no_key_is_unknown(ledger: Ledger, presented: str) -> None:
    """Whatever a caller sends, the answer is no and not an error."""
    create_key(ledger, "ward 3", ["chat"])
    assert check_key(ledger, presented, NOW).outcome == "unknown"


def test_a_key_with_one_changed_character_is_unknown(ledger: Ledger) -> None:
    """The id alone opens nothing."""
    secret = create_key(ledger, "ward 3", ["chat"]).secret
    changed = secret[:-1] + ("a" if secret[-1] != "a" else "b")
    assert check_key(ledger, changed, NOW).outcome == "unknown"
    assert check_key(ledger, "xyz" + secret[3:], NOW).outcome == "unknown"


def test_an_expired_key_says_so_from_the_very_moment(ledger: Ledger) -> None:
    """The caller learns that a new key is needed, and gets nothing else."""
    expires_at = NOW + timedelta(days=1)
    key = create_key(ledger, "visitor", ["chat"], expires_at)
    assert check_key(ledger, key.secret, expires_at - timedelta(seconds=1)).outcome == "ok"
    assert check_key(ledger, key.secret, expires_at).outcome == "expired"


def test_a_revoked_key_opens_nothing(ledger: Ledger) -> None:
    """Revoking is what an operator does when a key leaked."""
    key = create_key(ledger, "leaked", ["chat"])
    revoke_key(ledger, key.key_id)
    revoke_key(ledger, key.key_id)
    assert check_key(ledger, key.secret, NOW).outcome == "revoked"
    with pytest.raises(UnknownRecordError):
        revoke_key(ledger, "nobody")


def test_the_secret_is_nowhere_in_the_ledger(ledger: Ledger) -> None:
    """Whoever reads the database or the log can't use what they find."""
    key = create_key(ledger, "ward 3", ["chat"])
    secret = key.secret.split("_", 2)[2]
    with ledger.read() as connection:
        stored = repr(connection.execute(sa.select(api_keys)).all())
    assert secret not in stored
    assert secret not in repr(audit.lines(ledger))
    assert secret not in repr(list_keys(ledger))


def test_making_and_revoking_are_in_the_audit_log(ledger: Ledger) -> None:
    """Who could get in, and since when, must be answerable later."""
    key = create_key(ledger, "ward 3", ["chat", "correct"], by="tester")
    revoke_key(ledger, key.key_id, by="tester")
    assert [(line.who, line.what, line.about) for line in audit.lines(ledger)] == [
        ("tester", "created API key", key.key_id),
        ("tester", "revoked API key", key.key_id),
    ]


def test_a_key_without_a_name_a_known_scope_or_with_a_taken_name_is_refused(ledger: Ledger) -> None:
    """Corrections are recorded under the key's name: two keys of one name could not be told apart."""
    create_key(ledger, "ward 3", ["chat"])
    for name, scopes in (("ward 3", ["chat"]), (" ", ["chat"]), ("ward 4", []), ("ward 4", ["admin"])):
        with pytest.raises(LedgerError):
            create_key(ledger, name, scopes)


def test_a_rotated_key_opens_by_both_secrets_for_the_grace_time_and_then_by_the_new_one(ledger: Ledger) -> None:
    """So that an application can be changed over without a minute of refusals."""
    old = create_key(ledger, "ward 3", ["chat", "label:cardiology"], limits=KeyLimits(60, 1000))
    new = rotate_key(ledger, old.key_id, timedelta(hours=2), by="tester")
    later = datetime.now(UTC) + timedelta(hours=3)
    assert new.key_id == old.key_id
    assert [check_key(ledger, key.secret, NOW).outcome for key in (old, new)] == ["ok", "ok"]
    assert [check_key(ledger, key.secret, later).outcome for key in (old, new)] == ["unknown", "ok"]
    holder = check_key(ledger, new.secret, NOW).holder
    assert holder is not None
    assert (holder.requests_per_minute, holder.tokens_per_day) == (60, 1000)
    assert audit.lines(ledger)[-1].what == "rotated API key"
    newest = rotate_key(ledger, old.key_id, timedelta(0))
    outcomes = [check_key(ledger, key.secret, datetime.now(UTC)).outcome for key in (old, new, newest)]
    assert outcomes == ["unknown", "unknown", "ok"]


def test_a_revoked_key_is_not_rotated_and_its_old_secret_opens_nothing(ledger: Ledger) -> None:
    """Revoking is final, also within the grace time."""
    old = create_key(ledger, "leaked", ["chat"])
    rotate_key(ledger, old.key_id, timedelta(hours=2))
    revoke_key(ledger, old.key_id)
    assert check_key(ledger, old.secret, NOW).outcome == "revoked"
    with pytest.raises(LedgerError, match="revoked"):
        rotate_key(ledger, old.key_id, timedelta(hours=2))


@pytest.mark.parametrize("scope", ["label:", "label:a b", "label:ä", "Label:x", "label:" + "x" * 65])
def test_a_label_scope_is_a_plain_name(ledger: Ledger, scope: str) -> None:
    """Scopes are kept with spaces between."""
    with pytest.raises(LedgerError):
        create_key(ledger, "ward 3", [scope])
