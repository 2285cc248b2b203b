"""The graded answers on the home page: the best and the worst, only for approvers, and never a text that must stay hidden."""

from collections.abc import Callable
from html import unescape
from typing import Any

import pytest

from fine_tune_assets.core.settings import Settings
from fine_tune_assets.desk.graded_examples import MAX_TRIES, GradedExample, find_graded_examples
from fine_tune_assets.ledger.database import open_ledger
from fine_tune_assets.ledger.reviews.decision_records import list_decisions
from fine_tune_assets.ledger.reviews.erasures import record_erasure
from fine_tune_assets.lineage.erasure import find_subject_ids
from fine_tune_assets_tests.desk.conftest import Site, Visitor
from fine_tune_assets_tests.desk.installation import MISSED, drafts_of, fill
from fine_tune_assets_tests.desk.judged_drafts import judge_the_drafts, regrade

Scores = list[dict[str, Any]]


@pytest.fixture
def site(ward: Callable[..., Site]) -> Site:
    return ward()


@pytest.fixture
def scores(site: Site) -> Scores:
    return judge_the_drafts(site.settings, site.ledger)


def graded(scores: Scores, model: str = "adapter") -> Scores:
    """Best first."""
    rows = [row for row in scores if row["model"] == model]
    return sorted(rows, key=lambda row: (-row["score"], row["example_id"]))


def enter(site: Site, *roles: str) -> Visitor:
    site.add("Some One", *roles)
    return site.signed_in("Some One")


def read(visitor: Visitor) -> str:
    return unescape(visitor.get("/graded-answers/best-and-worst").text)


def test_the_best_and_the_worst_are_shown_next_to_the_other_model(site: Site, scores: Scores) -> None:
    shown, rows = read(enter(site, "approver")), graded(scores)
    base = {row["example_id"]: row["answer"] for row in scores if row["model"] == "base"}
    for row in (rows[0], rows[-1]):
        assert row["answer"] in shown
        assert base[row["example_id"]] in shown
    assert rows[1]["answer"] not in shown
    assert shown.index(rows[0]["answer"]) < shown.index(rows[-1]["answer"])


def test_an_approver_who_may_still_rate_blindly_sees_none(site: Site, scores: Scores) -> None:
    """The grades would bias the rating."""
    assert graded(scores)[0]["answer"] not in read(enter(site, "approver", "reviewer"))


@pytest.mark.usefixtures("scores")
def test_without_grades_there_is_nothing_to_show(site: Site) -> None:
    visitor = enter(site, "approver")
    regrade(site.settings, score=None)
    assert "Good answer" not in read(visitor)


def test_an_erased_subject_hides_all_of_the_set(site: Site, scores: Scores) -> None:
    visitor, best = enter(site, "approver"), graded(scores)[0]
    assert best["answer"] in read(visitor)
    ids = find_subject_ids(site.settings.layout, best["subject_key"])
    record_erasure(site.ledger, subject_key=best["subject_key"], by="officer", reason="Art. 17", ids=ids)
    assert best["answer"] not in read(visitor)


def test_an_example_that_is_no_longer_approved_gives_way_to_the_next(site: Site, scores: Scores) -> None:
    visitor, (best, second, *_) = enter(site, "approver"), graded(scores)
    decision = next(found for found in list_decisions(site.ledger) if found.example_id == best["example_id"])
    path = f"/decisions/{decision.decision_id}/revoke"
    assert visitor.post(path, {"reason": "slip"}, page="/account").status_code == 303
    shown = read(visitor)
    assert best["answer"] not in shown
    assert second["answer"] in shown


@pytest.mark.usefixtures("scores")
def test_a_marked_identifier_hides_the_answer(site: Site) -> None:
    marked = next(draft for draft in drafts_of(site.settings) if MISSED in draft["input"])
    reviewer = enter(site, "reviewer")
    form = {"kind": "NAME", "term": MISSED}
    assert reviewer.post(f"/items/{marked['example_id']}/mark", form, page="/account").status_code == 303
    site.add("Chief", "approver")
    assert MISSED not in read(site.signed_in("Chief"))


def test_only_a_few_examples_are_tried(settings: Settings) -> None:
    """Each try reads texts, and a page may not take long."""
    ledger = open_ledger(settings)
    fill(settings, ledger, count=MAX_TRIES + 5)
    judge_the_drafts(settings, ledger)
    ledger.close()
    tried: list[GradedExample] = []

    def refuse(example: GradedExample) -> bool:
        tried.append(example)
        return False

    found = find_graded_examples(settings.layout, refuse)
    assert found is not None
    assert found.examples == ()
    assert len(tried) == 2 * MAX_TRIES
