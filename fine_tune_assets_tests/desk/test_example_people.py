"""The people of the correction loop's example at a real desk: they send what the forms send, and the desk's rules hold."""

from collections.abc import Callable, Iterator

import httpx
import pytest

from examples.correction_loop.clients import DeskUser, LoopError, http_client
from fine_tune_assets.ledger.reviews.decision_records import list_decisions
from fine_tune_assets.ledger.serving.verdicts import list_signers, record_verdict
from fine_tune_assets_tests.desk.conftest import PASSWORD, Site
from fine_tune_assets_tests.desk.installation import SOURCE, add_correction
from fine_tune_assets_tests.ledger.ledger_rows import make_verdict


@pytest.fixture
def site(ward: Callable[..., Site]) -> Site:
    made = ward(count=2)
    add_correction(made.settings, made.ledger, "ward-a")
    for name in ("reviewer-one", "ward-a"):
        made.add(name, "reviewer")
    return made


@pytest.fixture
def desk(site: Site) -> Iterator[httpx.Client]:
    with http_client(site.url) as opened:
        yield opened


def test_it_signs_exactly_what_waits(site: Site, desk: httpx.Client) -> None:
    """The decision is in the ledger under its name, and the item waits no longer."""
    reviewer = DeskUser(desk, "reviewer-one", PASSWORD)
    (waiting,) = reviewer.waiting()
    reviewer.approve(waiting)
    (decision,) = list_decisions(site.ledger)
    assert (decision.example_id, decision.decision, decision.reviewer) == (waiting, "approve", "reviewer-one")
    assert reviewer.waiting() == []
    with pytest.raises(LoopError):
        reviewer.approve(waiting)


def test_the_author_of_the_correction_is_refused(site: Site, desk: httpx.Client) -> None:
    """The example has no way to approve that the desk does not have."""
    with http_client(site.url) as another:
        (waiting,) = DeskUser(another, "reviewer-one", PASSWORD).waiting()
    with pytest.raises(LoopError):
        DeskUser(desk, "ward-a", PASSWORD).approve(waiting)
    assert list_decisions(site.ledger) == []


def test_it_reads_the_whole_queue_and_not_its_first_page(ward: Callable[..., Site]) -> None:
    """Forty corrections are more than a page may hold."""
    site = ward(count=120)
    site.add("reviewer-one", "reviewer")
    with http_client(site.url) as desk:
        assert len(DeskUser(desk, "reviewer-one", PASSWORD).waiting(SOURCE)) == 120


def test_a_wrong_password_opens_nothing(desk: httpx.Client) -> None:
    with pytest.raises(LoopError, match="sign-in"):
        DeskUser(desk, "reviewer-one", "not the password of anybody")


def test_an_operator_adds_people_and_an_approver_signs_a_verdict(site: Site) -> None:
    """Commands once did both; scripts now act through the pages."""
    verdict = make_verdict("hold")
    record_verdict(site.ledger, verdict)
    site.add("operator-one", "operator")
    with http_client(site.url) as first, http_client(site.url) as second:
        password = DeskUser(first, "operator-one", PASSWORD).add_user("approver-one", "approver")
        DeskUser(second, "approver-one", password).sign_verdict(verdict.verdict_id, "Graded by hand.")
    assert list(list_signers(site.ledger, verdict.verdict_id)) == ["approver-one"]
