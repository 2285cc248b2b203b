"""Sessions of the desk: found only by their token, and limited in time. On both databases."""

from datetime import UTC, datetime, timedelta

import pytest

from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.people.sessions import SessionLimits, end_session, find_session, start_session
from fine_tune_assets.ledger.people.users import User, create_user, set_labels, set_roles

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
LIMITS = SessionLimits(timedelta(minutes=30), timedelta(hours=12))


@pytest.fixture
def user(ledger: Ledger) -> User:
    password = "seven grey herons at dusk"
    return create_user(ledger, "Reviewer One", ["reviewer"], password=password, oidc_identity=None, now=NOW)


def test_ledger_stores_only_a_hash_of_the_token(ledger: Ledger, user: User) -> None:
    """A backup of the ledger must not allow a session takeover."""
    token = start_session(ledger, user, LIMITS, now=NOW, method="by password")
    with ledger.read() as connection:
        stored = [row[0] for row in connection.exec_driver_sql("SELECT token_hash FROM sessions")]
    assert stored
    assert token not in stored
    assert len(token) >= 43
    found = find_session(ledger, token, LIMITS, now=NOW)
    assert found is not None
    assert token not in repr(found)
    assert find_session(ledger, stored[0], LIMITS, now=NOW) is None


def test_session_ends_when_idle_and_at_its_maximum_lifetime(ledger: Ledger, user: User) -> None:
    """An abandoned screen must lock, and an active session must end too."""
    token = start_session(ledger, user, LIMITS, now=NOW, method="by password")
    now = NOW
    while now - NOW < timedelta(hours=11, minutes=45):
        assert find_session(ledger, token, LIMITS, now=now) is not None
        now += timedelta(minutes=29)
    assert find_session(ledger, token, LIMITS, now=NOW + timedelta(hours=12)) is None
    idle = start_session(ledger, user, LIMITS, now=NOW, method="by password")
    assert find_session(ledger, idle, LIMITS, now=NOW + timedelta(minutes=30)) is None


def test_roles_apply_at_once(ledger: Ledger, user: User) -> None:
    """A withdrawn role must not survive in a session."""
    token = start_session(ledger, user, LIMITS, now=NOW, method="by password")
    set_roles(ledger, "Reviewer One", ["auditor"])
    found = find_session(ledger, token, LIMITS, now=NOW)
    assert found is not None
    assert found.roles == {"auditor"}


def test_group_labels_end_with_the_session_and_own_labels_apply_at_once(ledger: Ledger, user: User) -> None:
    """The provider sent the group labels at sign-in; the operator can change the others at any time."""
    token = start_session(ledger, user, LIMITS, now=NOW, method="by OIDC", labels=["pharmacy"])
    other = start_session(ledger, user, LIMITS, now=NOW, method="by OIDC")

    def labels(of: str) -> set[str]:
        found = find_session(ledger, of, LIMITS, now=NOW)
        assert found is not None
        return set(found.labels)

    assert (labels(token), labels(other)) == ({"pharmacy"}, set())
    set_labels(ledger, "Reviewer One", ["hr"])
    assert (labels(token), labels(other)) == ({"pharmacy", "hr"}, {"hr"})
    set_labels(ledger, "Reviewer One", [])
    assert (labels(token), labels(other)) == ({"pharmacy"}, set())


def test_sign_out_ends_one_session_and_a_new_session_deletes_expired_ones(ledger: Ledger, user: User) -> None:
    """The table must not grow without limit, and another browser stays signed in."""
    first, second = (start_session(ledger, user, LIMITS, now=NOW, method="by password") for _ in range(2))
    found = find_session(ledger, first, LIMITS, now=NOW)
    assert found is not None
    end_session(ledger, found)
    assert find_session(ledger, first, LIMITS, now=NOW) is None
    assert find_session(ledger, second, LIMITS, now=NOW) is not None
    start_session(ledger, user, LIMITS, now=NOW + timedelta(days=1), method="by password")
    with ledger.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM sessions").scalar() == 1
