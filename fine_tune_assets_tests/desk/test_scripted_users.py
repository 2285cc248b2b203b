"""Scripts act through the pages of the desk, signed in as people. The example's client does all that commands once did."""

from collections.abc import Callable
from contextlib import closing

from examples.correction_loop.clients import DeskUser, http_client
from fine_tune_assets.ledger.reviews.decision_records import list_decisions
from fine_tune_assets.ledger.serving.verdicts import list_signers, record_verdict
from fine_tune_assets_tests.desk.conftest import PASSWORD, Site
from fine_tune_assets_tests.desk.installation import drafts_of
from fine_tune_assets_tests.ledger.ledger_rows import make_verdict


def test_an_operator_adds_people_who_approve_a_draft_and_sign_a_verdict(ward: Callable[..., Site]) -> None:
    site = ward(count=2)
    verdict = make_verdict("hold")
    record_verdict(site.ledger, verdict)
    site.add("Operator Two", "operator")
    with (
        closing(http_client(site.url)) as first,
        closing(http_client(site.url)) as second,
        closing(http_client(site.url)) as third,
    ):
        operator = DeskUser(first, "Operator Two", PASSWORD)
        reviewer = DeskUser(second, "Reviewer New", operator.add_user("Reviewer New", "reviewer"))
        draft = drafts_of(site.settings)[0]
        assert draft["example_id"] in reviewer.waiting(draft["source"])
        reviewer.approve(draft["example_id"])
        assert draft["example_id"] not in reviewer.waiting(draft["source"])
        approver = DeskUser(third, "Approver New", operator.add_user("Approver New", "approver"))
        approver.sign_verdict(verdict.verdict_id, "Graded by hand.")
    assert [decision.reviewer for decision in list_decisions(site.ledger)] == ["Reviewer New"]
    assert list(list_signers(site.ledger, verdict.verdict_id)) == ["Approver New"]
