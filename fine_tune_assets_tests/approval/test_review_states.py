"""The state machine of review, rule by rule."""

from dataclasses import replace

import pytest

from fine_tune_assets.approval.review_states import ReviewStatus, Vote, decision_outcome, resolve_votes
from fine_tune_assets.recipes.schema import ReviewSettings
from fine_tune_assets_tests.approval.examples import ONE, TWO, decide, drafted, drafts

(DRAFT,) = drafted(drafts())
OWN_EDITS_BY_TWO = replace(ONE, own_edits="second_person")


def status_of(*words: str, rules: ReviewSettings = TWO) -> ReviewStatus:
    """The status after votes `Name outcome`: `ok`, `no` or a repaired output; `!Name` adjudicates."""
    votes = []
    for minute, word in enumerate(words):
        name, _, what = word.partition(" ")
        kind, output = ("reject", None) if what == "no" else ("approve", None if what == "ok" else what)
        decision = decide(DRAFT, kind, minute, name.removeprefix("!"), output)
        decision = replace(decision, role="adjudicate") if name.startswith("!") else decision
        votes.append(Vote(decision, decision_outcome(decision)))
    return resolve_votes(votes, rules)


@pytest.mark.parametrize(
    ("words", "state"),
    [
        ([], "waiting"),
        (["Ann ok"], "second_review"),
        (["Ann ok", "ANN ok"], "second_review"),
        (["Ann ok", "Ben ok"], "approved"),
        (["Ann no", "Ben no"], "rejected"),
        (["Ann ok", "Ben no"], "disagreement"),
        (["Ann Ice.", "Ben Ice."], "approved"),
        (["Ann Ice.", "Ben Heat."], "disagreement"),
        (["Ann Ice.", "Ben ok"], "disagreement"),
        (["Ann ok", "Ben no", "Ann no"], "rejected"),
        (["Ann ok", "Ben ok", "Cleo no"], "disagreement"),
        (["Ann ok", "Ben no", "Cleo ok"], "disagreement"),
    ],
)
def test_two_people_must_agree_on_the_exact_text(words: list[str], state: str) -> None:
    """The same person twice counts once, and two different repairs approve nothing."""
    assert status_of(*words).state == state


@pytest.mark.parametrize(
    ("words", "state"),
    [
        (["Ann ok", "Ben no", "!Cleo ok"], "approved"),
        (["Ann ok", "Ben no", "!Cleo no"], "rejected"),
        (["Ann Ice.", "Ben ok", "!Cleo Ice."], "approved"),
        # A party to the disagreement, or a text that no one else saw, does not adjudicate.
        (["Ann ok", "Ben no", "!ann ok"], "disagreement"),
        (["Ann ok", "Ben no", "!Cleo Heat."], "disagreement"),
        (["Ann ok", "Ben no", "!Cleo Heat.", "!Dan Heat."], "approved"),
        # Without a disagreement, an adjudication counts as a review.
        (["!Cleo ok"], "second_review"),
        (["Ann ok", "!Cleo ok"], "approved"),
        (["Ann ok", "!Cleo no"], "disagreement"),
        # A ruling holds until someone contradicts it; its author is then a party to the disagreement.
        (["Ann ok", "Ben no", "!Cleo ok", "Ben ok"], "approved"),
        (["Ann ok", "Ben no", "!Cleo ok", "Dan no"], "disagreement"),
        (["Ann ok", "Ben no", "!Cleo ok", "Dan no", "!Cleo ok"], "disagreement"),
        (["Ann ok", "Ben no", "!Cleo ok", "Dan no", "!Eve ok"], "approved"),
        (["Ann ok", "Ben no", "!Cleo ok", "!Dan no"], "disagreement"),
        (["Ann ok", "Ben no", "!Cleo ok", "!Cleo no"], "rejected"),
        (["Ann ok", "Ben no", "!Cleo ok", "Cleo ok"], "approved"),
    ],
)
def test_only_a_third_person_adjudicates_a_disagreement(words: list[str], state: str) -> None:
    """And only if there is a disagreement."""
    assert status_of(*words).state == state


def test_adjudicators_own_text_counts_if_the_recipe_allows_it() -> None:
    """Small teams have no one left to review it again."""
    rules = replace(TWO, own_edits="allow")
    assert status_of("Ann ok", "Ben no", "!Cleo Heat.", rules=rules).state == "approved"


@pytest.mark.parametrize(
    ("words", "state"),
    [
        (["Ann ok"], "approved"),
        (["Ann no"], "rejected"),
        (["Ann ok", "Ben no"], "rejected"),
        (["Ann Ice."], "approved"),
    ],
)
def test_latest_decision_counts_with_one_reviewer(words: list[str], state: str) -> None:
    """The rule of small installations."""
    assert status_of(*words, rules=ONE).state == state


@pytest.mark.parametrize(
    ("words", "state"),
    [
        (["Ann ok"], "approved"),
        (["Ann Ice."], "second_review"),
        (["Ann Ice.", "Ben Ice."], "approved"),
        (["Ann Ice.", "Ben ok"], "disagreement"),
        (["Ann Ice.", "Ben ok", "!Cleo ok"], "approved"),
        (["Ann Ice.", "Ann ok"], "approved"),
        (["Ann Ice.", "Ann no"], "rejected"),
        (["Ann Ice.", "Ann Ice."], "second_review"),
    ],
)
def test_repair_can_require_a_second_person_with_one_reviewer(words: list[str], state: str) -> None:
    """No one approves their own repair alone."""
    assert status_of(*words, rules=OWN_EDITS_BY_TWO).state == state


def test_status_names_deciders_and_approvers() -> None:
    """Deciders may not decide again; approvers sign."""
    status = status_of("Ann ok", "Ben no", "!Cleo ok")
    assert (status.reviewer_keys, status.approvers) == (("ann", "ben", "cleo"), ("Ann", "Cleo"))
    assert status.final_decision is not None
    assert status.final_decision.reviewer == "Cleo"


def test_unsigned_repair_has_no_outcome() -> None:
    """Callers must exclude it: guessing from its text would approve unreviewed content."""
    with pytest.raises(ValueError):
        decision_outcome(replace(decide(DRAFT, "approve", output="Ice."), approved_fingerprint=None))
