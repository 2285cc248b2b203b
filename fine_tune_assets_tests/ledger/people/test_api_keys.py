from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_errors import LedgerError, UnknownRecordError
from fine_tune_assets.ledger.ledger_tables import api_keys
from fine_tune_assets.ledger.people.api_keys import KeyLimits, check_key, create_key, list_keys, revoke_key, rotate_key
from fine_tune_assets.ledger.people.users import create_user, disable_user

NOW = datetime.now(UTC)


def test_key_opens_only_its_scopes(ledger: Ledger) -> None:
    """A key for chat must not be able to write training data."""
    key = create_key(ledger, "ward 3", ["chat"])
    assert check_key(ledger, key.secret, NOW).outcome == "ok"
    holder = check_key(ledger, key.secret, NOW).api_key
    assert holder is not None
    assert holder.scopes == ("chat",)


@pytest.mark.parametrize(
    "presented", ["", "x", "fta_", "fta__", "fta_0_0", "Bearer", "fta_ä_ö", "_" * 5, "fta_\0_x", "fta_a\0b_\0"]
)
def test_malformed_key_is_unknown(ledger: Ledger, presented: str) -> None:
    """Whatever a caller sends is refused without an error."""
    create_key(ledger, "ward 3", ["chat"])
    assert check_key(ledger, presented, NOW).outcome == "unknown"


def test_key_with_one_changed_character_is_unknown(ledger: Ledger) -> None:
    """The id alone is not enough."""
    secret = create_key(ledger, "ward 3", ["chat"]).secret
    changed = secret[:-1] + ("a" if secret[-1] != "a" else "b")
    assert check_key(ledger, changed, NOW).outcome == "unknown"
    assert check_key(ledger, "xyz" + secret[3:], NOW).outcome == "unknown"


def test_expired_key_is_reported_as_expired_immediately(ledger: Ledger) -> None:
    """The caller learns that a new key is needed, and nothing else."""
    expires_at = NOW + timedelta(days=1)
    key = create_key(ledger, "visitor", ["chat"], expires_at)
    assert check_key(ledger, key.secret, expires_at - timedelta(seconds=1)).outcome == "ok"
    assert check_key(ledger, key.secret, expires_at).outcome == "expired"


def test_revoked_key_opens_nothing(ledger: Ledger) -> None:
    """Operators revoke leaked keys."""
    key = create_key(ledger, "leaked", ["chat"])
    revoke_key(ledger, key.key_id)
    revoke_key(ledger, key.key_id)
    assert check_key(ledger, key.secret, NOW).outcome == "revoked"
    with pytest.raises(UnknownRecordError):
        revoke_key(ledger, "nobody")


def test_secret_is_not_stored(ledger: Ledger) -> None:
    """A reader of the database or the log can't use a key."""
    key = create_key(ledger, "ward 3", ["chat"])
    secret = key.secret.split("_", 2)[2]
    with ledger.read() as connection:
        stored = repr(connection.execute(sa.select(api_keys)).all())
    assert secret not in stored
    assert secret not in repr(audit.list_entries(ledger))
    assert secret not in repr(list_keys(ledger))


def test_creation_and_revocation_are_audited(ledger: Ledger) -> None:
    """It must stay known who had access, and since when."""
    key = create_key(ledger, "ward 3", ["chat"], by="tester")
    revoke_key(ledger, key.key_id, by="tester")
    assert [(line.actor, line.action, line.resource) for line in audit.list_entries(ledger)] == [
        ("tester", "created API key", key.key_id),
        ("tester", "revoked API key", key.key_id),
    ]


def test_key_needs_a_unique_name_and_a_known_scope(ledger: Ledger) -> None:
    """Corrections are recorded under the key's name."""
    create_key(ledger, "ward 3", ["chat"])
    for name, scopes in (("ward 3", ["chat"]), (" ", ["chat"]), ("ward 4", []), ("ward 4", ["admin"])):
        with pytest.raises(LedgerError):
            create_key(ledger, name, scopes)


def test_both_secrets_of_a_rotated_key_work_during_the_grace_period(ledger: Ledger) -> None:
    """So that an application can be switched without refused requests."""
    old = create_key(ledger, "ward 3", ["chat", "label:cardiology"], limits=KeyLimits(60, 1000))
    new = rotate_key(ledger, old.key_id, timedelta(hours=2), by="tester")
    later = datetime.now(UTC) + timedelta(hours=3)
    assert new.key_id == old.key_id
    assert [check_key(ledger, key.secret, NOW).outcome for key in (old, new)] == ["ok", "ok"]
    assert [check_key(ledger, key.secret, later).outcome for key in (old, new)] == ["unknown", "ok"]
    holder = check_key(ledger, new.secret, NOW).api_key
    assert holder is not None
    assert (holder.requests_per_minute, holder.tokens_per_day) == (60, 1000)
    assert audit.list_entries(ledger)[-1].action == "rotated API key"
    newest = rotate_key(ledger, old.key_id, timedelta(0))
    outcomes = [check_key(ledger, key.secret, datetime.now(UTC)).outcome for key in (old, new, newest)]
    assert outcomes == ["unknown", "unknown", "ok"]


def test_revoked_key_cannot_be_rotated(ledger: Ledger) -> None:
    """Revocation is final, also within the grace period."""
    old = create_key(ledger, "leaked", ["chat"])
    rotate_key(ledger, old.key_id, timedelta(hours=2))
    revoke_key(ledger, old.key_id)
    assert check_key(ledger, old.secret, NOW).outcome == "revoked"
    with pytest.raises(LedgerError, match="fine-tune keys create"):
        rotate_key(ledger, old.key_id, timedelta(hours=2))


@pytest.mark.parametrize("scope", ["label:", "label:a b", "label:ä", "Label:x", "label:" + "x" * 65])
def test_label_scope_is_a_plain_name(ledger: Ledger, scope: str) -> None:
    """Scopes are stored separated by spaces."""
    with pytest.raises(LedgerError):
        create_key(ledger, "ward 3", [scope])


def test_a_key_for_corrections_belongs_to_a_user_and_is_revoked_with_them(ledger: Ledger) -> None:
    """Otherwise a reviewer could send corrections with a key and approve them."""
    with pytest.raises(LedgerError, match="--user"):
        create_key(ledger, "app", ["correct"])
    create_key(ledger, "for many", ["correct", "on_behalf_of"])
    for name in ("Ada", "Bo"):
        create_user(ledger, name, ["operator"], password=None, oidc_identity=None, now=NOW, can_use_link=True)
    key = create_key(ledger, "app", ["correct"], owner="ada")
    found = check_key(ledger, key.secret, NOW)
    assert (found.outcome, found.api_key and found.api_key.owner) == ("ok", "Ada")
    disable_user(ledger, "Ada", now=NOW)
    assert check_key(ledger, key.secret, NOW).outcome == "revoked"
    with pytest.raises(UnknownRecordError):
        create_key(ledger, "other", ["correct"], owner="nobody")
