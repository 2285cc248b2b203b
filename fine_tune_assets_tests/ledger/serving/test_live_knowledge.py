"""Which index answers: the newest of a format that passed, with a line in the audit log."""

from typing import Any

import pytest

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.serving.live_knowledge import kept_knowledge, live_knowledge, make_knowledge_live

FORMAT, OTHER = "f" * 64, "e" * 64


def index(letter: str) -> str:
    return letter * 64


def make_live(ledger: Ledger, letter: str, kind: str = FORMAT, **changes: Any) -> None:
    values = {"store": "lancedb", "chunks": 3, "is_passed": True, "evidence": {"recall": 1.0}, "by": "served_knowledge"}
    make_knowledge_live(ledger, **{**values, "index_fingerprint": index(letter), "format_fingerprint": kind, **changes})


def live(ledger: Ledger, kind: str = FORMAT) -> str | None:
    found = live_knowledge(ledger, kind)
    return None if found is None else found.index_fingerprint


def test_the_newest_of_a_format_answers(ledger: Ledger) -> None:
    assert live(ledger) is None
    make_live(ledger, "a")
    make_live(ledger, "b", OTHER)
    assert (live(ledger), live(ledger, OTHER)) == (index("a"), index("b"))
    make_live(ledger, "c")
    make_live(ledger, "a")
    assert live(ledger) == index("a")


@pytest.mark.parametrize("is_passed", [False, None])
def test_without_evidence_nothing_becomes_live(ledger: Ledger, is_passed: bool | None) -> None:
    make_live(ledger, "a")
    with pytest.raises(GateClosedError, match="did not pass its checks"):
        make_live(ledger, "b", is_passed=is_passed)
    assert live(ledger) == index("a")


def test_every_switch_is_in_the_audit_log_once(ledger: Ledger) -> None:
    for letter in "aab":
        make_live(ledger, letter)
    lines = [(line.who, line.what, line.about) for line in audit.lines(ledger)]
    assert lines == [("served_knowledge", "made knowledge live", index(letter)) for letter in "ab"]


def test_what_answers_is_kept_and_some_that_answered_before(ledger: Ledger) -> None:
    make_live(ledger, "a", OTHER)
    for letter in "bcde":
        make_live(ledger, letter)
    assert kept_knowledge(ledger, 2) == [index("e"), index("d"), index("a")]
