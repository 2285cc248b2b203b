"""The live index: the newest of a format that passed, with an entry in the audit log."""

from typing import Any

import pytest

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.serving.live_indexes import activate_index, find_live_index, list_retained_indexes

FORMAT, OTHER = "f" * 64, "e" * 64


def index(letter: str) -> str:
    return letter * 64


def make_live(ledger: Ledger, letter: str, kind: str = FORMAT, **changes: Any) -> None:
    values = {"store": "lancedb", "chunks": 3, "is_passed": True, "evidence": {"recall": 1.0}, "by": "served_knowledge"}
    activate_index(ledger, **{**values, "index_fingerprint": index(letter), "format_fingerprint": kind, **changes})


def live(ledger: Ledger, kind: str = FORMAT) -> str | None:
    found = find_live_index(ledger, kind)
    return None if found is None else found.index_fingerprint


def test_newest_index_of_a_format_is_live(ledger: Ledger) -> None:
    assert live(ledger) is None
    make_live(ledger, "a")
    make_live(ledger, "b", OTHER)
    assert (live(ledger), live(ledger, OTHER)) == (index("a"), index("b"))
    make_live(ledger, "c")
    make_live(ledger, "a")
    assert live(ledger) == index("a")


@pytest.mark.parametrize("is_passed", [False, None])
def test_index_without_evidence_does_not_go_live(ledger: Ledger, is_passed: bool | None) -> None:
    make_live(ledger, "a")
    with pytest.raises(GateClosedError):
        make_live(ledger, "b", is_passed=is_passed)
    assert live(ledger) == index("a")


def test_every_switch_is_audited_once(ledger: Ledger) -> None:
    for letter in "aab":
        make_live(ledger, letter)
    lines = [(line.actor, line.action, line.resource) for line in audit.list_entries(ledger)]
    assert lines == [("served_knowledge", "activated knowledge index", index(letter)) for letter in "ab"]


def test_live_and_recent_indexes_are_retained(ledger: Ledger) -> None:
    make_live(ledger, "a", OTHER)
    for letter in "bcde":
        make_live(ledger, letter)
    assert list_retained_indexes(ledger, 2) == [index("e"), index("d"), index("a")]
