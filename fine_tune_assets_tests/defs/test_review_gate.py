"""The review queue and the gate in the graph: the queue follows the drafts, and disagreement keeps the gate closed."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from fine_tune_assets.approval.review_actions import revoke
from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s04_approved_examples.approved_examples import (
    approved_examples,
    drafted_examples,
    require_reviewer_agreement,
    reviewer_agreement_meets_floor,
)
from fine_tune_assets.ledger.reviews.decision_records import list_decisions
from fine_tune_assets.ledger.reviews.review_items import count_queue
from fine_tune_assets.tables.approval_rows import DraftedExample, ModelDraft
from fine_tune_assets.tables.correction_rows import ScrubbedCorrection
from fine_tune_assets.tables.dedup_rows import DuplicateReport, UniqueReport
from fine_tune_assets.tables.record_classes import iter_records, table_from_rows
from fine_tune_assets_tests.approval.submissions import submit
from fine_tune_assets_tests.conftest import write_recipe

NONE = ScrubbedCorrection.SCHEMA.empty_table()
TEXT = "NOTE\nA patient with {}.\n\nPRESENTING COMPLAINT\n{}"
PLANTED = "Zebrafinch"


def reports(*complaints: str) -> Any:
    rows = [
        {
            "report_id": f"b/{number}",
            "batch": "b",
            "source": "elsewhere",
            "subject_key": f"p{number}",
            "text": TEXT.format(complaint, complaint.capitalize()),
            "fingerprint": f"text {number}",
        }
        for number, complaint in enumerate(complaints)
    ]
    return table_from_rows(
        [{name: row.get(name) for name in UniqueReport.SCHEMA.names} for row in rows], UniqueReport.SCHEMA
    )


def drafted(*complaints: str) -> Any:
    made = drafted_examples(
        installation=Installation(),
        unique_reports=reports(*complaints),
        duplicate_reports=DuplicateReport.SCHEMA.empty_table(),
        model_drafts=ModelDraft.SCHEMA.empty_table(),
    )
    return made.value  # type: ignore[attr-defined]


def approved(drafts: Any) -> Any:
    return approved_examples(installation=Installation(), drafted_examples=drafts)


def agree(table: Any) -> dg.AssetCheckResult:
    found = reviewer_agreement_meets_floor(installation=Installation(), approved_examples=table)
    assert isinstance(found, dg.AssetCheckResult)
    return found


def say(draft: DraftedExample, who: str, what: str = "approve") -> None:
    with Installation().ledger() as ledger:
        submit(ledger, draft, who, what)


@pytest.mark.usefixtures("installation_dir")
def test_the_review_queue_holds_exactly_the_current_drafts() -> None:
    """The desk shows the queue: it must be there when the drafts are, without anybody's doing."""
    drafted("a cough", "a fever")
    with Installation().ledger() as ledger:
        assert [one.counts for one in count_queue(ledger)[0]] == [{"waiting": 2}]
    drafted("a cough")
    with Installation().ledger() as ledger:
        assert [one.counts for one in count_queue(ledger)[0]] == [{"waiting": 1}]


def test_the_states_follow_a_recipe_that_asks_for_two(installation_dir: Path) -> None:
    """What one person approved before waits for the second one, in the queue as in the gate."""
    drafts = drafted("a cough")
    say(next(iter_records(DraftedExample, drafts)), "Ann")
    assert approved(drafts).value.num_rows == 1
    write_recipe(installation_dir, review={"reviewers": 2})
    made = approved(drafts)
    assert (made.value.num_rows, made.metadata["waiting_for_second_reviewer"]) == (0, 1)
    with Installation().ledger() as ledger:
        assert [one.counts for one in count_queue(ledger)[0]] == [{"second_review": 1}]
        (decision,) = list_decisions(ledger)
    say(next(iter_records(DraftedExample, drafts)), "Ben")
    (row,) = approved(drafts).value.to_pylist()
    assert row["approved_by"] == "Ann, Ben"
    with Installation().ledger() as ledger:
        rules = Installation().recipe.review
        revoke(ledger, decision.decision_id, by="Ann", reason="slip", rules=rules, now=datetime.now(UTC))
    assert approved(drafts).value.num_rows == 0


def test_a_decision_on_a_draft_of_a_trusted_source_replaces_the_trust_in_it(installation_dir: Path) -> None:
    """A rejected example is not trained on, and a revocation restores the trust."""
    write_recipe(installation_dir, trusted_sources={"elsewhere": "Experts of elsewhere"})
    drafts = drafted("a cough", "swelling of both ankles since the flight home")
    first, _ = iter_records(DraftedExample, drafts)
    assert approved(drafts).value.num_rows == 2
    say(first, "Ann", "reject")
    made = approved(drafts)
    assert (first.example_id in made.value["example_id"].to_pylist(), made.value.num_rows) == (False, 1)
    assert made.metadata["rejected"] == 1
    with Installation().ledger() as ledger:
        (decision,), rules = list_decisions(ledger), Installation().recipe.review
        revoke(ledger, decision.decision_id, by="Ann", reason="slip", rules=rules, now=datetime.now(UTC))
    assert approved(drafts).value["approval_kind"].to_pylist() == ["trusted_source"] * 2


def test_the_gate_closes_where_reviewers_disagree_or_too_few_pairs_are_known(installation_dir: Path) -> None:
    """No instruction set is made from what two people judge like two dice."""
    floor = {"reviewers": 2, "agreement_floor": 0.5, "minimum_pairs": 4}
    write_recipe(installation_dir, review=floor)
    drafts = drafted("a cough", "a fever", "a rash", "a fall")
    rows = list(iter_records(DraftedExample, drafts))
    assert agree(approved(drafts).value).passed, "nothing rests on experts yet"
    for row in rows[:2]:
        say(row, "Ann")
        say(row, "Ben")
    early = agree(approved(drafts).value)
    assert (early.passed, early.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "2 more are needed" in str(early.metadata["reason"].value)
    # The same gate applies if the next asset is started manually.
    with pytest.raises(GateClosedError, match="2 more are needed"):
        require_reviewer_agreement(Installation(), approved(drafts).value)
    for row, words in zip(rows[2:], (("approve", "reject"), ("reject", "approve")), strict=True):
        say(row, "Ann", words[0])
        say(row, "Ben", words[1])
    late = agree(approved(drafts).value)
    assert not late.passed
    assert "is below the floor" in str(late.metadata["reason"].value)
    assert late.metadata["pairs"].value == 4
    write_recipe(installation_dir, review={**floor, "agreement_floor": None})
    assert agree(approved(drafts).value).passed
    require_reviewer_agreement(Installation(), approved(drafts).value)


def test_the_check_blocks_and_shows_no_text(installation_dir: Path) -> None:
    """A check that only warned would let the instruction set be made; and its figures are read by everybody."""
    write_recipe(installation_dir, review={"reviewers": 2})
    drafts = drafted(PLANTED)
    (row,) = iter_records(DraftedExample, drafts)
    say(row, "Ann")
    say(row, "Ben", "reject")
    made = approved(drafts)
    assert PLANTED not in repr(made.metadata) + repr(agree(made.value).metadata)
    (spec,) = reviewer_agreement_meets_floor.check_specs
    assert spec.blocking
