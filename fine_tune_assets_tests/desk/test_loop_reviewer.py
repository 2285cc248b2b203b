"""The reviewer of the demo of the loop at a real desk: what it sends is what a page's forms would, and the desk's rules hold."""

from collections.abc import Callable

import pytest

from fine_tune_assets.approval.drafting import CORRECTION
from fine_tune_assets.cli.loop.people import LoopError, Reviewer
from fine_tune_assets.ledger.reviews import list_decisions
from fine_tune_assets_tests.desk.conftest import PASSWORD, Site
from fine_tune_assets_tests.desk.installation import SOURCE, add_correction


@pytest.fixture
def site(ward: Callable[..., Site]) -> Site:
    made = ward(count=2)
    add_correction(made.settings, made.ledger, "ward-a")
    made.add("reviewer-one", "reviewer")
    made.add("ward-a", "reviewer")
    return made


def test_it_signs_exactly_what_waits(site: Site) -> None:
    """The decision is in the ledger under its name, and the item waits no longer."""
    reviewer = Reviewer(site.url, "reviewer-one", PASSWORD)
    (waiting,) = reviewer.waiting(CORRECTION)
    reviewer.approve(waiting)
    (decision,) = list_decisions(site.ledger)
    assert (decision.example_id, decision.decision, decision.reviewer) == (waiting, "approve", "reviewer-one")
    assert reviewer.waiting(CORRECTION) == []
    with pytest.raises(LoopError, match="decided on already"):
        reviewer.approve(waiting)
    reviewer.close()


def test_who_wrote_the_correction_is_refused(site: Site) -> None:
    """The demo can't approve by a way that the desk does not have."""
    author = Reviewer(site.url, "ward-a", PASSWORD)
    waiting = Reviewer(site.url, "reviewer-one", PASSWORD).waiting(CORRECTION)
    with pytest.raises(LoopError):
        author.approve(waiting[0])
    assert list_decisions(site.ledger) == []


def test_the_whole_queue_is_read_and_not_its_first_page(ward: Callable[..., Site]) -> None:
    """Forty corrections are more than a page may hold."""
    site = ward(count=120)
    site.add("reviewer-one", "reviewer")
    assert len(Reviewer(site.url, "reviewer-one", PASSWORD).waiting(SOURCE)) == 120


def test_a_wrong_password_stops_the_demo(site: Site) -> None:
    with pytest.raises(LoopError, match="Signing in"):
        Reviewer(site.url, "reviewer-one", "not the password of anybody")
