"""Users of the desk: who there is, who gets in, and that guessing does not pay. On both databases."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from argon2 import PasswordHasher, Type, extract_parameters

from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.errors import LedgerError, UnknownRecordError
from fine_tune_assets.ledger.people.sessions import SessionLimits, find_session, start_session
from fine_tune_assets.ledger.people.users import (
    FIRST_LOCK_SECONDS,
    FREE_FAILURES,
    LONGEST_LOCK_SECONDS,
    User,
    create_user,
    disable_user,
    enable_user,
    find_by_identity,
    find_user,
    list_users,
    set_labels,
    set_password,
    set_roles,
    sign_in,
)

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
PASSWORD = "seven grey herons at dusk"
OTHER = "nine loud geese at dawn"
LIMITS = SessionLimits(timedelta(minutes=30), timedelta(hours=12))


def add(ledger: Ledger, name: str, *roles: str, password: str | None = PASSWORD, identity: str | None = None) -> User:
    wanted = roles or ("reviewer",)
    return create_user(ledger, name, wanted, password=password, oidc_identity=identity, now=NOW)


def fail(ledger: Ledger, name: str, times: int, now: datetime = NOW) -> None:
    for _ in range(times):
        assert sign_in(ledger, name, "the wrong words, every time", now=now) is None


def test_a_user_signs_in_with_the_password_in_any_spelling_of_the_name(ledger: Ledger) -> None:
    """People type their name as they like; the password is exact."""
    made = add(ledger, "Reviewer  One", "reviewer", "auditor")
    found = sign_in(ledger, " reviewer ONE ", PASSWORD, now=NOW)
    assert found is not None
    assert (found.user_id, found.name, found.roles) == (made.user_id, "Reviewer One", ("reviewer", "auditor"))
    assert sign_in(ledger, "Reviewer One", PASSWORD.upper(), now=NOW) is None
    assert sign_in(ledger, "nobody", PASSWORD, now=NOW) is None


def test_a_name_is_one_person_whatever_its_case_and_spaces(ledger: Ledger) -> None:
    """Otherwise somebody could approve their own draft under another spelling."""
    add(ledger, "Reviewer One")
    with pytest.raises(LedgerError, match="already"):
        add(ledger, "REVIEWER   one")


def test_guessing_from_a_stolen_ledger_is_as_slow_as_rfc_9106_recommends(shipped_hasher: PasswordHasher) -> None:
    """Its second recommended option: argon2id, 64 MiB, three passes, four lanes. These tests themselves use less."""
    parameters = extract_parameters(shipped_hasher.hash(PASSWORD))
    assert parameters.type is Type.ID
    assert parameters.memory_cost >= 64 * 1024
    assert parameters.time_cost >= 3
    assert parameters.parallelism >= 4


def test_the_ledger_holds_no_password(ledger: Ledger) -> None:
    """argon2id with a salt of its own: two users with one password have two hashes."""
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
def test_a_password_that_is_easily_guessed_is_refused_and_not_repeated(ledger: Ledger, password: str) -> None:
    """An error ends up on a screen and in a log."""
    with pytest.raises(LedgerError) as caught:
        add(ledger, "Reviewer One", password=password)
    assert password not in str(caught.value)
    assert list_users(ledger) == []


def test_after_failures_in_a_row_even_the_right_password_waits_and_waits_longer_each_time(ledger: Ledger) -> None:
    """Guessing becomes slower and slower; the owner gets in again after the wait, and then counts from the start."""
    add(ledger, "Reviewer One")
    fail(ledger, "Reviewer One", FREE_FAILURES)
    assert sign_in(ledger, "Reviewer One", PASSWORD, now=NOW + timedelta(seconds=FIRST_LOCK_SECONDS - 1)) is None
    later = NOW + timedelta(seconds=FIRST_LOCK_SECONDS)
    fail(ledger, "Reviewer One", 1, now=later)
    doubled = later + timedelta(seconds=2 * FIRST_LOCK_SECONDS)
    assert sign_in(ledger, "Reviewer One", PASSWORD, now=doubled - timedelta(seconds=1)) is None
    assert sign_in(ledger, "Reviewer One", PASSWORD, now=doubled) is not None
    fail(ledger, "Reviewer One", FREE_FAILURES - 1, now=doubled)
    assert sign_in(ledger, "Reviewer One", PASSWORD, now=doubled) is not None


def test_a_lock_has_an_end_however_many_failures(ledger: Ledger) -> None:
    """Whoever wants to keep a colleague out for good must not be able to."""
    add(ledger, "Reviewer One")
    now = NOW
    for _ in range(25):
        fail(ledger, "Reviewer One", 1, now=now)
        now += timedelta(seconds=LONGEST_LOCK_SECONDS)
    assert sign_in(ledger, "Reviewer One", PASSWORD, now=now) is not None


def test_guesses_at_the_same_time_are_counted_one_by_one(ledger: Ledger) -> None:
    """Otherwise a hundred guesses sent at once would all be looked at before the first is counted."""
    add(ledger, "Reviewer One")
    found: list[User | None] = []
    guesses = ["the wrong words, every time"] * 11 + [PASSWORD]
    fail(ledger, "Reviewer One", FREE_FAILURES - 1)
    fail(ledger, "Reviewer One", 1)
    threads = [
        threading.Thread(target=lambda word=word: found.append(sign_in(ledger, "Reviewer One", word, now=NOW)))
        for word in guesses
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [None] * len(guesses)


def test_a_lock_is_a_line_in_the_audit_log_and_an_unknown_name_is_not(ledger: Ledger) -> None:
    """An auditor sees an attack; a password typed into the field of the name stays out of the log."""
    add(ledger, "Reviewer One")
    fail(ledger, "Reviewer One", FREE_FAILURES)
    fail(ledger, PASSWORD, FREE_FAILURES)
    lines = audit.lines(ledger)
    assert [line.who for line in lines if line.what == "was locked out"] == ["Reviewer One"]
    assert not any(PASSWORD in f"{line.who}{line.what}{line.about}" for line in lines)


def test_the_last_operator_stays(ledger: Ledger) -> None:
    """Without one nobody could let anybody in from the desk again. A disabled one does not count."""
    add(ledger, "Operator One", "operator")
    add(ledger, "Operator Two", "operator", "auditor")
    disable_user(ledger, "Operator Two", now=NOW)
    with pytest.raises(LedgerError, match="last operator"):
        disable_user(ledger, "Operator One", now=NOW)
    with pytest.raises(LedgerError, match="last operator"):
        set_roles(ledger, "Operator One", ["auditor"])
    enable_user(ledger, "Operator Two")
    disable_user(ledger, "Operator One", now=NOW)
    assert [user.is_enabled for user in list_users(ledger)] == [False, True]


def test_labels_are_given_and_taken_with_a_line_in_the_log(ledger: Ledger) -> None:
    """Who let whom see which documents is what an auditor asks."""
    create_user(
        ledger, "Reader One", ["user"], password=PASSWORD, oidc_identity=None, now=NOW, by="Operator One", labels=["hr"]
    )
    assert find_user(ledger, "Reader One").labels == ("hr",)
    set_labels(ledger, "reader one", ["pharmacy", "hr", "hr"], by="Operator Two")
    set_labels(ledger, "reader one", ["hr", "pharmacy"], by="Operator Two")  # changes nothing
    assert find_user(ledger, "Reader One").labels == ("hr", "pharmacy")
    set_labels(ledger, "reader one", [], by="Operator Two")
    assert find_user(ledger, "Reader One").labels == ()
    told = [(line.who, line.about) for line in audit.lines(ledger) if line.what == "changed labels"]
    assert told == [
        ("Operator One", "user Reader One: hr"),
        ("Operator Two", "user Reader One: hr pharmacy"),
        ("Operator Two", "user Reader One: none"),
    ]


def test_the_log_holds_many_labels_of_a_long_name(ledger: Ledger) -> None:
    """A line has room for 300 characters, and PostgreSQL refuses more."""
    name, labels = "x" * 200, [f"{number:02}-{'y' * 60}" for number in range(64)]
    add(ledger, name)
    set_labels(ledger, name, labels)
    told = [line.about.rpartition(": ")[2] for line in audit.lines(ledger) if line.what == "changed labels"]
    assert " ".join(told).split() == labels
    token = start_session(ledger, find_user(ledger, name), LIMITS, now=NOW, how="by OIDC", labels=labels)
    told = [line.about for line in audit.lines(ledger) if line.what == "has labels by groups"]
    assert " ".join(told).split() == labels
    assert find_session(ledger, token, LIMITS, now=NOW) is not None


@pytest.mark.parametrize("labels", [["HR"], ["h r"], [""], ["hr,pharmacy"], ["x" * 64], [f"l{n}" for n in range(65)]])
def test_a_word_that_no_document_can_carry_is_refused(ledger: Ledger, labels: list[str]) -> None:
    """It would open nothing and look as if it did."""
    add(ledger, "Reader One")
    with pytest.raises(LedgerError, match="label"):
        set_labels(ledger, "Reader One", labels)
    with pytest.raises(LedgerError, match="label"):
        create_user(ledger, "Reader Two", ["user"], password=PASSWORD, oidc_identity=None, now=NOW, labels=labels)
    assert [user.labels for user in list_users(ledger)] == [()]


@pytest.mark.parametrize("what", ["disable", "password"])
def test_disabling_and_a_new_password_end_every_session(ledger: Ledger, what: str) -> None:
    """Whoever was let in by what is no longer true is out with the next click."""
    add(ledger, "Operator One", "operator")
    user = add(ledger, "Reviewer One")
    token = start_session(ledger, user, LIMITS, now=NOW, how="by password")
    assert find_session(ledger, token, LIMITS, now=NOW) is not None
    if what == "disable":
        disable_user(ledger, "reviewer one", now=NOW)
        assert sign_in(ledger, "Reviewer One", PASSWORD, now=NOW) is None
    else:
        fail(ledger, "Reviewer One", FREE_FAILURES)
        set_password(ledger, "reviewer one", OTHER)
        assert sign_in(ledger, "Reviewer One", PASSWORD, now=NOW) is None
        assert sign_in(ledger, "Reviewer One", OTHER, now=NOW) is not None
    assert find_session(ledger, token, LIMITS, now=NOW) is None


def test_who_signs_in_by_oidc_has_no_password_and_is_found_by_identity(ledger: Ledger) -> None:
    """An account without a password must not open with any, least of all with an empty one."""
    add(ledger, "Reviewer One", password=None, identity="https://login.example|mailto:One@Clinic.example")
    assert sign_in(ledger, "Reviewer One", "", now=NOW) is None
    found = find_by_identity(
        ledger, ["https://login.example|subject-1", "https://login.example|mailto:one@clinic.example"]
    )
    assert found is not None
    assert found.name == "Reviewer One"
    assert find_by_identity(ledger, ["https://other.example|mailto:one@clinic.example"]) is None
    with pytest.raises(LedgerError, match="another user"):
        add(ledger, "Reviewer Two", password=None, identity="https://login.example|mailto:one@clinic.example")
    with pytest.raises(LedgerError, match="ISSUER"):
        add(ledger, "Reviewer Two", password=None, identity="one@clinic.example")


def test_unknown_roles_and_names_are_refused(ledger: Ledger) -> None:
    """A misspelt role would be a user who may do nothing, and nobody knows why."""
    with pytest.raises(LedgerError, match="reviwer"):
        add(ledger, "Reviewer One", "reviwer")
    with pytest.raises(LedgerError, match="needs a name"):
        add(ledger, "   ")
    with pytest.raises(UnknownRecordError):
        find_user(ledger, "nobody")
    with pytest.raises(LedgerError, match="to sign in with"):
        add(ledger, "Reviewer One", password=None)
