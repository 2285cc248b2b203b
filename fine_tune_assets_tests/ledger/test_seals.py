"""Rows that decide are sealed: who can write to the database, but has no key, can neither add nor change one.

The attacker here can only run SQL on the database. `shows` is what the attack is after.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.core.keys import create_private_file
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.audit_head import HEAD_FILE
from fine_tune_assets.ledger.database import Ledger, open_database
from fine_tune_assets.ledger.ledger_errors import SealError
from fine_tune_assets.ledger.ledger_tables import SEAL, SEALED_TABLES, metadata
from fine_tune_assets.ledger.people.api_keys import check_key, create_key, list_keys, revoke_key
from fine_tune_assets.ledger.people.sessions import SessionLimits, find_session, issue_link, redeem_link, start_session
from fine_tune_assets.ledger.people.users import create_user, find_user, set_password, set_roles, sign_in
from fine_tune_assets.ledger.reviews.correction_records import TEXT_FIELDS, list_corrections, record_correction
from fine_tune_assets.ledger.reviews.decision_records import list_decisions
from fine_tune_assets.ledger.reviews.identifier_marks import read_missed_terms, record_mark
from fine_tune_assets.ledger.seals import find_broken_seals
from fine_tune_assets.ledger.serving.deployments import find_live_deployment
from fine_tune_assets.ledger.serving.live_indexes import activate_index, find_live_index
from fine_tune_assets.ledger.serving.release_records import find_release
from fine_tune_assets.ledger.serving.routing_targets import find_targets
from fine_tune_assets.ledger.serving.verdicts import (
    find_latest_verdict,
    list_signers,
    record_verdict,
    require_promotion,
    sign_hold,
)
from fine_tune_assets_tests.ledger.ledger_rows import make_verdict, record_decision
from fine_tune_assets_tests.serving.tiny_releases import switched

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
LIMITS = SessionLimits(timedelta(hours=1), timedelta(hours=8))
PASSWORD = "a long enough passphrase"


def attack(ledger: Ledger, sql: str, **values: Any) -> None:
    """Write to the database past this program."""
    with ledger.begin() as connection:
        assert connection.execute(sa.text(sql), values).rowcount == 1


def verdict_key(**changes: Any) -> dict[str, str]:
    verdict = make_verdict("hold", incumbent="adapter of r-1", **changes)
    return {
        "adapter_id": verdict.adapter_id,
        "base_fingerprint": verdict.base_fingerprint,
        "instruction_set_fingerprint": verdict.instruction_set_fingerprint,
    }


@pytest.fixture
def filled(ledger: Ledger) -> Ledger:
    """A user, a key, a live release, a decision, a hold, a mark, a correction and an index."""
    create_user(ledger, "Ada", ["reviewer"], password=PASSWORD, oidc_identity=None, now=NOW)
    create_key(ledger, "app", ["chat"])
    switched(ledger, "r-1")
    record_decision(ledger)
    record_verdict(ledger, make_verdict("hold", incumbent="adapter of r-1"))
    record_mark(
        ledger, bytes(32), report_id="r", batch="b", subject_key="s", kind="NAME", term="t", labelled_case="{}", marked_by="Ada"
    )  # fmt: skip
    texts = dict.fromkeys(TEXT_FIELDS, "t")
    record_correction(ledger, bytes(32), release_id="r-1", author="Ada", idempotency_key="k", **texts)
    activate_index(
        ledger, index_fingerprint="i" * 64, format_fingerprint="f" * 64, store="lance", chunks=1, is_passed=True, evidence={},
        by="served_knowledge",
    )  # fmt: skip
    return ledger


ATTACKS: dict[str, tuple[str, Callable[[Ledger], Any]]] = {
    "prompts to another engine": ("UPDATE deployments SET engine_url = 'http://elsewhere/v1'", find_targets),
    "a live deployment": ("UPDATE deployments SET detail = 'x'", find_live_deployment),
    "another release folder": ("UPDATE releases SET folder = 'elsewhere'", lambda ledger: find_release(ledger, "r-1")),
    "another index": ("UPDATE live_indexes SET index_fingerprint = 'x'", lambda ledger: find_live_index(ledger, "f" * 64)),
    "more scopes": ("UPDATE api_keys SET scopes = 'chat correct on_behalf_of'", list_keys),
    "more roles": ("UPDATE users SET roles = 'operator'", lambda ledger: find_user(ledger, "Ada")),
    "another password": (
        "UPDATE users SET password_hash = 'x'", lambda ledger: sign_in(ledger, "Ada", PASSWORD, now=NOW, source="a"),
    ),
    "another decision": ("UPDATE decisions SET decision = 'reject'", list_decisions),
    "a forged decision": (
        "INSERT INTO decisions (decision_id, example_id, fingerprint, decision, reviewer, reason, decided_at) "
        "VALUES ('d', 'e', 'f', 'approve', 'Ada', '', '2026-11-29 12:00:00')",
        list_decisions,
    ),
    "a correction by another author": (
        "UPDATE corrections SET author = 'Bea'", lambda ledger: list_corrections(ledger, bytes(32)),
    ),
    "a promotion": (
        "UPDATE verdicts SET decision = 'promote' WHERE decision = 'hold'",
        lambda ledger: find_latest_verdict(ledger, **verdict_key()),
    ),
    "a mark withdrawn": ("UPDATE missed_identifiers SET kind = 'DATE'", lambda ledger: read_missed_terms(ledger, bytes(32))),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_a_changed_or_added_row_is_refused_by_name(filled: Ledger, name: str) -> None:
    """Each row decides something: where prompts go, who may do what, what is trained and served."""
    sql, read = ATTACKS[name]
    read(filled)
    with filled.read() as connection:
        assert find_broken_seals(connection) == []
    attack(filled, sql)
    with pytest.raises(SealError) as caught:
        read(filled)
    with filled.read() as connection:
        (broken,) = find_broken_seals(connection)
    assert (broken.table, broken.row) == (caught.value.table, caught.value.row)
    assert broken.row in str(caught.value)


def test_a_session_and_a_link_that_were_added_by_hand_open_nothing(filled: Ledger) -> None:
    """Their tokens are hashes without a key, so an attacker can write a row for a token of their own."""
    user = find_user(filled, "Ada")
    start_session(filled, user, LIMITS, now=NOW, method="password")
    issue_link(filled, "Ada", now=NOW)
    attack(filled, "UPDATE sessions SET token_hash = :hash", hash=fingerprint_text("mine"))
    attack(filled, "UPDATE sign_in_links SET token_hash = :hash", hash=fingerprint_text("mine"))
    with pytest.raises(SealError):
        find_session(filled, "mine", LIMITS, now=NOW)
    with pytest.raises(SealError):
        redeem_link(filled, "mine", now=NOW)


def test_an_api_key_that_was_added_by_hand_is_refused(filled: Ledger) -> None:
    """With every scope."""
    attack(
        filled,
        "INSERT INTO api_keys (key_id, name, secret_hash, scopes, created_at) "
        "VALUES ('abc', 'mine', :hash, 'chat on_behalf_of', '2026-11-29 12:00:00')",
        hash=fingerprint_text("secret"),
    )
    with pytest.raises(SealError):
        check_key(filled, "fta_abc_secret", NOW)


def test_a_signature_on_a_hold_needs_seal_and_audit_entry_of_this_installation(filled: Ledger) -> None:
    """An audit line with a plain hash once opened the hold."""
    verdict_id = make_verdict("hold", incumbent="adapter of r-1").verdict_id
    with filled.begin() as connection:
        last = audit.list_newest_entries(filled, None, 1)[0]
        line = {
            "position": last.position + 1, "at": NOW, "actor": "Eve", "action": "signed hold", "resource": verdict_id,
            "previous_hash": last.entry_hash, "entry_hash": fingerprint_text("forged"),
        }  # fmt: skip
        connection.execute(metadata.tables["audit_entries"].insert().values(**line))
        assert not audit.has_entry(connection, "Eve", "signed hold", verdict_id)
    assert list_signers(filled, verdict_id) == []
    assert not audit.verify_entries(filled).is_intact
    attack(
        filled,
        "INSERT INTO signatures (verdict_id, approver, reason, signed_at) VALUES (:id, 'Eve', 'x', '2026-11-29 12:00:00')",
        id=verdict_id,
    )
    with pytest.raises(SealError):
        require_promotion(filled, **verdict_key())


def test_an_update_by_this_program_does_not_seal_what_an_attacker_changed(filled: Ledger) -> None:
    """Otherwise the next role change would make a forged row genuine."""
    attack(filled, "UPDATE users SET name = 'Eve'")
    with pytest.raises(SealError):
        set_roles(filled, "Ada", ["approver"])
    attack(filled, "UPDATE api_keys SET scopes = 'metrics'")
    with pytest.raises(SealError):
        revoke_key(filled, list_raw(filled, "api_keys")[0]["key_id"])
    assert list_raw(filled, "api_keys")[0]["revoked_at"] is None


def test_a_link_signs_in_its_own_user_whatever_name_a_row_shows(filled: Ledger) -> None:
    """A name put into another user's row once opened the account of the one who has it."""
    create_user(filled, "Bo", ["user"], password=PASSWORD, oidc_identity=None, now=NOW)
    token = issue_link(filled, "Bo", now=NOW)
    attack(filled, "UPDATE users SET name = 'Ada' WHERE name = 'Bo'")
    with pytest.raises(SealError):
        redeem_link(filled, token, now=NOW)


def test_an_expiry_is_compared_as_a_time(filled: Ledger) -> None:
    """SQLite compares text, in which another spelling of the same time can be later."""
    token = start_session(filled, find_user(filled, "Ada"), LIMITS, now=NOW, method="password")
    with filled.begin() as connection:
        if connection.dialect.name == "sqlite":
            sql = "UPDATE sessions SET expires_at = replace(replace(expires_at, '-', ''), ' ', 'T')"
            connection.execute(sa.text(sql))
    assert find_session(filled, token, LIMITS, now=NOW + timedelta(days=30)) is None


def _write_user(ledger: Ledger, event: str) -> None:
    if event == "INSERT":
        create_user(ledger, "Bo", ["user"], password=PASSWORD, oidc_identity=None, now=NOW)
    else:
        set_password(ledger, "Ada", f"{PASSWORD} again")


@pytest.mark.parametrize("event", ["INSERT", "UPDATE"])
def test_what_a_trigger_adds_is_not_sealed(filled: Ledger, event: str) -> None:
    """The database itself could change a row between the write and the seal."""
    name = f"raise_{event.lower()}"
    with filled.begin() as connection:
        if connection.dialect.name == "sqlite":
            body = "UPDATE users SET roles = 'operator' WHERE user_id = NEW.user_id"
            connection.execute(sa.text(f"CREATE TRIGGER {name} AFTER {event} ON users BEGIN {body}; END"))
        else:
            body = "BEGIN NEW.roles = 'operator'; RETURN NEW; END"
            connection.execute(sa.text(f"CREATE FUNCTION {name}() RETURNS trigger AS $$ {body} $$ LANGUAGE plpgsql"))
            connection.execute(
                sa.text(f"CREATE TRIGGER {name} BEFORE {event} ON users FOR EACH ROW EXECUTE FUNCTION {name}()")
            )
    try:
        with pytest.raises(SealError):
            _write_user(filled, event)
    finally:
        with filled.begin() as connection:
            table = "" if connection.dialect.name == "sqlite" else " ON users"
            connection.execute(sa.text(f"DROP TRIGGER {name}{table}"))
            if table:
                connection.execute(sa.text(f"DROP FUNCTION {name}"))


def test_a_seal_of_other_characters_is_broken(filled: Ledger) -> None:
    """An error there would silence every alert."""
    attack(filled, "UPDATE users SET seal = 'ü'")
    with filled.read() as connection:
        assert [broken.table for broken in find_broken_seals(connection)] == ["users"]


def list_raw(ledger: Ledger, table: str) -> Any:
    with ledger.read() as connection:
        return connection.execute(sa.select(metadata.tables[table])).mappings().all()


def test_a_seal_belongs_to_its_row_and_its_installation(filled: Ledger, tmp_path: Path) -> None:
    """Neither a copied seal nor another installation's key is enough."""
    create_user(filled, "Bo", ["operator"], password=PASSWORD, oidc_identity=None, now=NOW)
    seal = next(row[SEAL] for row in list_raw(filled, "users") if row["name"] == "Bo")
    attack(filled, "UPDATE users SET roles = 'operator', seal = :seal WHERE name = 'Ada'", seal=seal)
    with pytest.raises(SealError):
        find_user(filled, "Ada")
    create_private_file(tmp_path / "ledger.key", bytes(32))
    other = open_database(filled.engine.url.render_as_string(hide_password=False), tmp_path)
    with pytest.raises(SealError):
        find_user(other, "Bo")
    other.close()


def test_what_changes_often_and_decides_nothing_is_not_sealed(filled: Ledger) -> None:
    """A session's last visit and failed sign-ins are updated with each request."""
    assert sign_in(filled, "Ada", "a wrong passphrase", now=NOW, source="a") is None
    assert sign_in(filled, "Ada", PASSWORD, now=NOW, source="a") is not None
    token = start_session(filled, find_user(filled, "Ada"), LIMITS, now=NOW, method="password")
    later = NOW + timedelta(minutes=5)
    assert find_session(filled, token, LIMITS, now=later) is not None
    assert list_raw(filled, "sessions")[0]["last_seen_at"] == later
    with filled.read() as connection:
        assert find_broken_seals(connection) == []


def test_every_sealed_table_has_its_column_and_only_known_exceptions() -> None:
    """A typo in the list would leave a column unsealed."""
    for name, exceptions in SEALED_TABLES.items():
        assert exceptions <= set(metadata.tables[name].columns.keys())
        assert SEAL in exceptions


def test_a_signed_hold_still_opens_the_gate(filled: Ledger) -> None:
    """The seals refuse forgeries, not people."""
    sign_hold(filled, make_verdict("hold", incumbent="adapter of r-1").verdict_id, "Cleo", "seen")
    assert require_promotion(filled, **verdict_key()).decision == "hold"
    with pytest.raises(GateClosedError):
        require_promotion(filled, **verdict_key() | {"adapter_id": "other"})


@pytest.mark.parametrize("count", [1, 3])
def test_a_shortened_history_is_noticed(filled: Ledger, count: int) -> None:
    """The remaining chain is intact; the head outside the database is not in it."""
    newest = audit.list_newest_entries(filled, None, 1)[0].position
    with filled.begin() as connection:
        connection.execute(sa.text("DELETE FROM audit_entries WHERE position > :p"), {"p": newest - count})
    check = audit.verify_entries(filled)
    assert (check.is_intact, check.broken_at) == (False, newest - count + 1)
    assert check.reason == f"the lines {newest - count + 1} to {newest} were removed"


@pytest.mark.parametrize("content", ["{}", "", "[]"])
def test_a_damaged_head_is_reported_and_stops_no_work(filled: Ledger, content: str) -> None:
    """Without it, a shortened log would look complete. The entry of a change is committed before the head."""
    (filled.keys / HEAD_FILE).write_text(content)
    set_roles(filled, "Ada", ["auditor"])
    assert not audit.verify_entries(filled).is_intact
