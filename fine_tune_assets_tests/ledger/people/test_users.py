"""Users of the desk: names, sign-in, lockout and labels. On both databases."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from argon2 import PasswordHasher, Type, extract_parameters

from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.ledger_errors import LedgerError, UnknownRecordError
from fine_tune_assets.ledger.people.sessions import SessionLimits, find_session, start_session
from fine_tune_assets.ledger.people.users import (
    ACCOUNT_THRESHOLD,
    FIRST_LOCKOUT_SECONDS,
    LOCKOUT_THRESHOLD,
    MAX_LOCKOUT_SECONDS,
    User,
    create_user,
    disable_user,
    enable_user,
    find_user,
    find_user_by_identity,
    list_users,
    set_labels,
    set_password,
    set_roles,
    sign_in,
    take_failed_sign_ins,
)

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
PASSWORD = "seven grey herons at dusk"
OTHER = "nine loud geese at dawn"
LIMITS = SessionLimits(timedelta(minutes=30), timedelta(hours=12))


def add(ledger: Ledger, name: str, *roles: str, password: str | None = PASSWORD, identity: str | None = None) -> User:
    wanted = roles or ("reviewer",)
    return create_user(ledger, name, wanted, password=password, oidc_identity=identity, now=NOW)


def enter(
    ledger: Ledger, name: str, password: str, now: datetime = NOW, source: str = "address a", known: bool = False
) -> User | None:
    return sign_in(ledger, name, password, now=now, source=source, is_known_source=known)


def fail(ledger: Ledger, name: str, times: int, now: datetime = NOW, source: str = "address a") -> None:
    for _ in range(times):
        assert enter(ledger, name, "the wrong words, every time", now, source) is None


def test_user_signs_in_under_any_spelling_of_the_name(ledger: Ledger) -> None:
    """Spelling of the name is free; the password is exact."""
    made = add(ledger, "Reviewer  One", "reviewer", "auditor")
    found = enter(ledger, " reviewer ONE ", PASSWORD, NOW)
    assert found is not None
    assert (found.user_id, found.name, found.roles) == (made.user_id, "Reviewer One", ("reviewer", "auditor"))
    assert enter(ledger, "Reviewer One", PASSWORD.upper(), NOW) is None
    assert enter(ledger, "nobody", PASSWORD, NOW) is None


def test_name_is_one_person_in_any_case_and_spacing(ledger: Ledger) -> None:
    """Otherwise people could approve their own drafts under another spelling."""
    add(ledger, "Reviewer One")
    with pytest.raises(LedgerError):
        add(ledger, "REVIEWER   one")


def test_password_hashing_follows_rfc_9106(shipped_hasher: PasswordHasher) -> None:
    """Its second recommended option: argon2id, 64 MiB, three passes, four lanes. The tests use cheaper parameters."""
    parameters = extract_parameters(shipped_hasher.hash(PASSWORD))
    assert parameters.type is Type.ID
    assert parameters.memory_cost >= 64 * 1024
    assert parameters.time_cost >= 3
    assert parameters.parallelism >= 4


def test_passwords_are_not_stored(ledger: Ledger) -> None:
    """argon2id with a random salt: two users with the same password have different hashes."""
    add(ledger, "Reviewer One")
    add(ledger, "Reviewer Two")
    with ledger.read() as connection:
        hashes = [row[0] for row in connection.exec_driver_sql("SELECT password_hash FROM users")]
    assert all(text.startswith("$argon2id$") and PASSWORD not in text for text in hashes)
    assert len(set(hashes)) == 2


@pytest.mark.parametrize(
    "password",
    ["fourteen chars", "x" * 300, "aaaabbbbaaaabbbbaaaa", "my name is reviewerone yes"],
    ids=["short", "long", "few signs", "the name"],
)
def test_weak_password_is_refused_and_not_repeated(ledger: Ledger, password: str) -> None:
    """Error messages end up on screens and in logs."""
    with pytest.raises(LedgerError) as caught:
        add(ledger, "Reviewer One", password=password)
    assert password not in str(caught.value)
    assert list_users(ledger) == []


def test_lockout_also_refuses_the_right_password_and_doubles(ledger: Ledger) -> None:
    """Guessing gets slower; the owner can sign in after the wait, which resets the count."""
    add(ledger, "Reviewer One")
    fail(ledger, "Reviewer One", LOCKOUT_THRESHOLD)
    assert enter(ledger, "Reviewer One", PASSWORD, NOW + timedelta(seconds=FIRST_LOCKOUT_SECONDS - 1)) is None
    later = NOW + timedelta(seconds=FIRST_LOCKOUT_SECONDS)
    fail(ledger, "Reviewer One", 1, now=later)
    doubled = later + timedelta(seconds=2 * FIRST_LOCKOUT_SECONDS)
    assert enter(ledger, "Reviewer One", PASSWORD, doubled - timedelta(seconds=1)) is None
    assert enter(ledger, "Reviewer One", PASSWORD, doubled) is not None
    fail(ledger, "Reviewer One", LOCKOUT_THRESHOLD - 1, now=doubled)
    assert enter(ledger, "Reviewer One", PASSWORD, doubled) is not None


def test_a_stranger_cannot_lock_a_user_out(ledger: Ledger) -> None:
    """Only the source of the failures waits; before, five guesses of anybody locked the name."""
    add(ledger, "Reviewer One")
    fail(ledger, "Reviewer One", 2 * LOCKOUT_THRESHOLD)
    assert enter(ledger, "Reviewer One", PASSWORD) is None
    assert enter(ledger, "Reviewer One", PASSWORD, source="address b") is not None


def test_a_source_waits_for_each_name_by_itself(ledger: Ledger) -> None:
    """Users behind one proxy have the same address."""
    add(ledger, "Reviewer One")
    add(ledger, "Reviewer Two")
    fail(ledger, "Reviewer One", LOCKOUT_THRESHOLD)
    assert enter(ledger, "Reviewer Two", PASSWORD) is not None


def test_many_sources_together_wait_but_known_ones_do_not(ledger: Ledger) -> None:
    """A guesser with many addresses gets no more than a hundred attempts, and the user still signs in from a known browser."""
    add(ledger, "Reviewer One")
    for number in range(ACCOUNT_THRESHOLD):
        fail(ledger, "Reviewer One", 1, source=f"address {number}")
    assert enter(ledger, "Reviewer One", PASSWORD, source="address new") is None
    assert enter(ledger, "Reviewer One", PASSWORD, source="browser known", known=True) is not None
    later = NOW + timedelta(seconds=FIRST_LOCKOUT_SECONDS)
    assert enter(ledger, "Reviewer One", PASSWORD, later, source="address new") is not None


def test_a_known_source_that_guesses_waits_too(ledger: Ledger) -> None:
    """A stolen browser is not a way around the limit."""
    add(ledger, "Reviewer One")
    for _ in range(LOCKOUT_THRESHOLD):
        assert enter(ledger, "Reviewer One", "the wrong words, every time", source="browser", known=True) is None
    assert enter(ledger, "Reviewer One", PASSWORD, source="browser", known=True) is None


def test_failures_of_other_sources_are_reported_once(ledger: Ledger) -> None:
    """The user's own typing errors are not."""
    user = add(ledger, "Reviewer One")
    fail(ledger, "Reviewer One", 3, source="address b")
    fail(ledger, "Reviewer One", 2)
    assert enter(ledger, "Reviewer One", PASSWORD) is not None
    assert [take_failed_sign_ins(ledger, user) for _ in range(2)] == [3, 0]


def test_failures_of_a_source_are_forgotten_after_a_day(ledger: Ledger) -> None:
    """The table must not grow with every address that ever failed."""
    add(ledger, "Reviewer One")
    for number in range(3):
        fail(ledger, "Reviewer One", 1, source=f"address {number}")
    fail(ledger, "Reviewer One", 1, now=NOW + timedelta(days=1, seconds=1), source="address 3")
    with ledger.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM sign_in_failures").scalar_one() == 1


def test_lockout_is_limited_after_any_number_of_failures(ledger: Ledger) -> None:
    """A user who forgot the password must not wait for ever."""
    add(ledger, "Reviewer One")
    now = NOW
    for _ in range(25):
        fail(ledger, "Reviewer One", 1, now=now)
        now += timedelta(seconds=MAX_LOCKOUT_SECONDS)
    assert enter(ledger, "Reviewer One", PASSWORD, now) is not None


def test_simultaneous_guesses_are_counted_one_by_one(ledger: Ledger) -> None:
    """Otherwise a hundred simultaneous guesses would be checked before the first is counted."""
    add(ledger, "Reviewer One")
    found: list[User | None] = []
    guesses = ["the wrong words, every time"] * 11 + [PASSWORD]
    fail(ledger, "Reviewer One", LOCKOUT_THRESHOLD - 1)
    fail(ledger, "Reviewer One", 1)
    threads = [
        threading.Thread(target=lambda word=word: found.append(enter(ledger, "Reviewer One", word, NOW)))
        for word in guesses
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [None] * len(guesses)


def test_lockout_is_audited_but_an_unknown_name_is_not(ledger: Ledger) -> None:
    """An auditor sees an attack; a password typed into the name field stays out of the log."""
    add(ledger, "Reviewer One")
    fail(ledger, "Reviewer One", LOCKOUT_THRESHOLD)
    fail(ledger, PASSWORD, LOCKOUT_THRESHOLD)
    lines = audit.list_entries(ledger)
    assert [line.actor for line in lines if line.action == "was locked out"] == ["Reviewer One"]
    assert not any(PASSWORD in f"{line.actor}{line.action}{line.resource}" for line in lines)


def test_last_operator_cannot_be_removed(ledger: Ledger) -> None:
    """Without an operator, no one could manage users at the desk. Disabled operators don't count."""
    add(ledger, "Operator One", "operator")
    add(ledger, "Operator Two", "operator", "auditor")
    disable_user(ledger, "Operator Two", now=NOW)
    with pytest.raises(LedgerError, match="Operator One"):
        disable_user(ledger, "Operator One", now=NOW)
    with pytest.raises(LedgerError, match="Operator One"):
        set_roles(ledger, "Operator One", ["auditor"])
    enable_user(ledger, "Operator Two")
    disable_user(ledger, "Operator One", now=NOW)
    assert [user.is_enabled for user in list_users(ledger)] == [False, True]


def test_label_changes_are_audited(ledger: Ledger) -> None:
    """Auditors ask who gave access to which documents."""
    create_user(
        ledger, "Reader One", ["user"], password=PASSWORD, oidc_identity=None, now=NOW, by="Operator One", labels=["hr"]
    )
    assert find_user(ledger, "Reader One").labels == ("hr",)
    set_labels(ledger, "reader one", ["pharmacy", "hr", "hr"], by="Operator Two")
    set_labels(ledger, "reader one", ["hr", "pharmacy"], by="Operator Two")  # changes nothing
    assert find_user(ledger, "Reader One").labels == ("hr", "pharmacy")
    set_labels(ledger, "reader one", [], by="Operator Two")
    assert find_user(ledger, "Reader One").labels == ()
    audited = [(line.actor, line.resource) for line in audit.list_entries(ledger) if line.action == "changed labels"]
    assert audited == [
        ("Operator One", "user Reader One: hr"),
        ("Operator Two", "user Reader One: hr pharmacy"),
        ("Operator Two", "user Reader One: none"),
    ]


def test_audit_log_stores_many_labels_of_a_long_name(ledger: Ledger) -> None:
    """An entry has room for 300 characters, and PostgreSQL refuses more."""
    name, labels = "x" * 200, [f"{number:02}-{'y' * 60}" for number in range(64)]
    add(ledger, name)
    set_labels(ledger, name, labels)
    audited = [
        line.resource.rpartition(": ")[2] for line in audit.list_entries(ledger) if line.action == "changed labels"
    ]
    assert " ".join(audited).split() == labels
    token = start_session(ledger, find_user(ledger, name), LIMITS, now=NOW, method="by OIDC", labels=labels)
    audited = [line.resource for line in audit.list_entries(ledger) if line.action == "received labels from groups"]
    assert " ".join(audited).split() == labels
    assert find_session(ledger, token, LIMITS, now=NOW) is not None


@pytest.mark.parametrize("labels", [["HR"], ["h r"], [""], ["hr,pharmacy"], ["x" * 64], [f"l{n}" for n in range(65)]])
def test_invalid_label_is_refused(ledger: Ledger, labels: list[str]) -> None:
    """It would match no document without any notice."""
    add(ledger, "Reader One")
    with pytest.raises(LedgerError):
        set_labels(ledger, "Reader One", labels)
    with pytest.raises(LedgerError):
        create_user(ledger, "Reader Two", ["user"], password=PASSWORD, oidc_identity=None, now=NOW, labels=labels)
    assert [user.labels for user in list_users(ledger)] == [()]


@pytest.mark.parametrize("what", ["disable", "password"])
def test_disabling_and_a_new_password_end_every_session(ledger: Ledger, what: str) -> None:
    """Access ends with the next request."""
    add(ledger, "Operator One", "operator")
    user = add(ledger, "Reviewer One")
    token = start_session(ledger, user, LIMITS, now=NOW, method="by password")
    assert find_session(ledger, token, LIMITS, now=NOW) is not None
    if what == "disable":
        disable_user(ledger, "reviewer one", now=NOW)
        assert enter(ledger, "Reviewer One", PASSWORD, NOW) is None
    else:
        fail(ledger, "Reviewer One", LOCKOUT_THRESHOLD)
        set_password(ledger, "reviewer one", OTHER)
        assert enter(ledger, "Reviewer One", PASSWORD, NOW) is None
        assert enter(ledger, "Reviewer One", OTHER, NOW) is not None
    assert find_session(ledger, token, LIMITS, now=NOW) is None


def test_oidc_user_has_no_password_and_is_found_by_identity(ledger: Ledger) -> None:
    """An account without a password must not accept any, least of all an empty one."""
    add(ledger, "Reviewer One", password=None, identity="https://login.example|mailto:One@Clinic.example")
    assert enter(ledger, "Reviewer One", "", NOW) is None
    found = find_user_by_identity(
        ledger, ["https://login.example|subject-1", "https://login.example|mailto:one@clinic.example"]
    )
    assert found is not None
    assert found.name == "Reviewer One"
    assert find_user_by_identity(ledger, ["https://other.example|mailto:one@clinic.example"]) is None
    with pytest.raises(LedgerError):
        add(ledger, "Reviewer Two", password=None, identity="https://login.example|mailto:one@clinic.example")
    with pytest.raises(LedgerError):
        add(ledger, "Reviewer Two", password=None, identity="one@clinic.example")


def test_unknown_roles_and_names_are_refused(ledger: Ledger) -> None:
    """A misspelt role would leave a user without any permission."""
    with pytest.raises(LedgerError, match="reviwer"):
        add(ledger, "Reviewer One", "reviwer")
    with pytest.raises(LedgerError):
        add(ledger, "   ")
    with pytest.raises(UnknownRecordError):
        find_user(ledger, "nobody")
    with pytest.raises(LedgerError):
        add(ledger, "Reviewer One", password=None)
