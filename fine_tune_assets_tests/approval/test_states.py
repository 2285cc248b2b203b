"""The state machine of review, rule by rule."""

from dataclasses import replace

import pytest

from fine_tune_assets.approval.states import Standing, Vote, outcome_of, standing_of
from fine_tune_assets.recipes.schema import ReviewSettings
from fine_tune_assets_tests.approval.examples import ONE, TWO, decide, drafted, drafts

(DRAFT,) = drafted(drafts())
OWN_EDITS_BY_TWO = replace(ONE, own_edits="second_person")


def said(*words: str, rules: ReviewSettings = TWO) -> Standing:
    """Each word as `Name says`: `ok`, `no`, or the repaired output; an adjudicator's has a `!` before it."""
    votes = []
    for minute, word in enumerate(words):
        name, _, what = word.partition(" ")
        kind, output = ("reject", None) if what == "no" else ("approve", None if what == "ok" else what)
        decision = decide(DRAFT, kind, minute, name.removeprefix("!"), output)
        decision = replace(decision, role="adjudicate") if name.startswith("!") else decision
        votes.append(Vote(decision, outcome_of(decision)))
    return standing_of(votes, rules)


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
def test_two_people_must_decide_alike_to_the_letter(words: list[str], state: str) -> None:
    """One person twice is one person, and two who repaired it differently approved nothing together."""
    assert said(*words).state == state


@pytest.mark.parametrize(
    ("words", "state"),
    [
        (["Ann ok", "Ben no", "!Cleo ok"], "approved"),
        (["Ann ok", "Ben no", "!Cleo no"], "rejected"),
        (["Ann Ice.", "Ben ok", "!Cleo Ice."], "approved"),
        # One of the two, or a text that nobody else saw, settles nothing.
        (["Ann ok", "Ben no", "!ann ok"], "disagreement"),
        (["Ann ok", "Ben no", "!Cleo Heat."], "disagreement"),
        (["Ann ok", "Ben no", "!Cleo Heat.", "!Dan Heat."], "approved"),
        # Where there is nothing to settle it is one more review.
        (["!Cleo ok"], "second_review"),
        (["Ann ok", "!Cleo ok"], "approved"),
        (["Ann ok", "!Cleo no"], "disagreement"),
        # A ruling stands until somebody contradicts it, and who ruled is then no third person any more.
        (["Ann ok", "Ben no", "!Cleo ok", "Ben ok"], "approved"),
        (["Ann ok", "Ben no", "!Cleo ok", "Dan no"], "disagreement"),
        (["Ann ok", "Ben no", "!Cleo ok", "Dan no", "!Cleo ok"], "disagreement"),
        (["Ann ok", "Ben no", "!Cleo ok", "Dan no", "!Eve ok"], "approved"),
        (["Ann ok", "Ben no", "!Cleo ok", "!Dan no"], "disagreement"),
        (["Ann ok", "Ben no", "!Cleo ok", "!Cleo no"], "rejected"),
        (["Ann ok", "Ben no", "!Cleo ok", "Cleo ok"], "approved"),
    ],
)
def test_a_third_person_settles_a_disagreement(words: list[str], state: str) -> None:
    """And only a third person, and only a disagreement."""
    assert said(*words).state == state


def test_an_adjudicators_own_text_counts_where_the_recipe_allows_it() -> None:
    """Small teams have nobody left to read it once more."""
    rules = replace(TWO, own_edits="allow")
    assert said("Ann ok", "Ben no", "!Cleo Heat.", rules=rules).state == "approved"


@pytest.mark.parametrize(
    ("words", "state"),
    [
        (["Ann ok"], "approved"),
        (["Ann no"], "rejected"),
        (["Ann ok", "Ben no"], "rejected"),
        (["Ann Ice."], "approved"),
    ],
)
def test_with_one_reviewer_the_latest_word_stands(words: list[str], state: str) -> None:
    """The rule of the small installation."""
    assert said(*words, rules=ONE).state == state


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
def test_with_one_reviewer_a_repair_can_ask_for_a_second_person(words: list[str], state: str) -> None:
    """Nobody approves alone what they wrote themselves."""
    assert said(*words, rules=OWN_EDITS_BY_TWO).state == state


def test_a_standing_names_who_decided_and_who_approved() -> None:
    """The first list bars them from deciding again, the second one signs."""
    standing = said("Ann ok", "Ben no", "!Cleo ok")
    assert (standing.people, standing.approvers) == (("ann", "ben", "cleo"), ("Ann", "Cleo"))
    assert standing.settling is not None
    assert standing.settling.reviewer == "Cleo"


def test_a_repair_that_nobody_signed_has_no_outcome() -> None:
    """It must be kept out before anybody asks: to guess one from its text would approve what was not reviewed."""
    with pytest.raises(ValueError, match="nobody signed"):
        outcome_of(replace(decide(DRAFT, "approve", output="Ice."), approved_fingerprint=None))
