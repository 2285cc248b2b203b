"""Verdict pages over HTTP: what they show, and that only an approver can sign a hold, and only the newest one."""

import re
from collections.abc import Callable
from html import unescape
from typing import Any
from xml.etree import ElementTree

import pytest

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.shared_records import Verdict
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.serving.verdicts import list_signers, record_verdict, require_promotion
from fine_tune_assets_tests.desk.conftest import Site, Visitor
from fine_tune_assets_tests.desk.judged_drafts import ADAPTER, BASE, judge_the_drafts
from fine_tune_assets_tests.desk.verdict_documents import CRITERIA, DOCUMENT, evidence
from fine_tune_assets_tests.ledger.ledger_rows import FINGERPRINTS, make_verdict

REASON = "Read fifty answers by hand; the loss on copa does not matter for a discharge letter."


ROLES = {"Chief": "approver", "Deputy": "approver", "Auditor": "auditor", "Operator": "operator"}


@pytest.fixture
def site(serve: Callable[..., Site]) -> Site:
    return serve()


def enter(site: Site, name: str) -> Visitor:
    """Add a user and sign in. Tests add only the users that they need, because hashing a password is slow."""
    site.add(name, ROLES[name])
    return site.signed_in(name)


def record(site: Site, decision: str = "hold", document: Any = DOCUMENT, **changes: Any) -> Verdict:
    verdict = make_verdict(decision, evidence=evidence(document), **changes)
    record_verdict(site.ledger, verdict)
    return verdict


def is_open(site: Site) -> bool:
    try:
        require_promotion(site.ledger, **FINGERPRINTS)
    except GateClosedError:
        return False
    return True


def test_a_verdict_shows_its_reasons_metrics_and_inputs(site: Site) -> None:
    """Approvers decide from this page alone."""
    verdict = record(site, reasons=("It may have forgotten copa.", "Only 180 examples."))
    shown = unescape(enter(site, "Chief").get(f"/verdicts/{verdict.verdict_id}").text)
    for part in (
        "It may have forgotten copa.", "Only 180 examples.", "180 test examples were graded",
        "240 would detect a gain of 0.30 points",
        "7.41", "6.93", "0.48", "(0.12 to 0.85)", "0.012", "-0.110", "(-0.200 to -0.020)", "It may have lost more than 0.05.",
        "Only 3 patients.", "< 0.001", "adapter-1", "base-1", "set-1", "recipe-1", "scores-1", "judge-1", "0.62",
        "Minimum examples",
        "It can't see what was made up.", "candidate 6.31, incumbent 5.92",
    ):  # fmt: skip
        assert part in shown, part


def find_row(page: str, name: str) -> str:
    """The cells of a criterion, with the line of its reason."""
    (table,) = re.findall(r'<h2[^>]* id="criteria">.*?</table>', page, re.DOTALL)
    return unescape(re.search(rf'<th scope="row">{name}.*?(?=<th scope="row">|</table>)', table, re.DOTALL)[0])  # type: ignore[index]


def test_each_criterion_is_shown_with_its_grades_and_whether_a_judge_could_grade_it(site: Site) -> None:
    """A rubric's tone is graded by no judge without a language model; the approver must know."""
    verdict = record(site, document=DOCUMENT | {"criteria": CRITERIA})
    shown = enter(site, "Auditor").get(f"/verdicts/{verdict.verdict_id}").text
    accuracy, completeness, tone = (find_row(shown, name) for name in ("Factual accuracy", "Completeness", "Tone"))
    for part in ("8.21", "6.84", "1.37", "(0.92 to 1.83)", "0.44", '<span class="tag good">Qualified'):
        assert part in accuracy, part
    for part in ("6.12", "Not qualified", "Its agreement 0.21 is below the floor 0.60."):
        assert part in completeness, part
    assert "No judge could grade tone." in tone
    assert "No judge could grade" not in accuracy + completeness


def test_a_document_without_criteria_is_still_readable(site: Site) -> None:
    """Documents of earlier versions have none."""
    verdict = record(site)
    shown = enter(site, "Auditor").get(f"/verdicts/{verdict.verdict_id}").text
    assert 'id="criteria"' not in shown
    assert "another version wrote it" not in shown


@pytest.mark.parametrize(("name", "sees_link"), [("Chief", True), ("Auditor", False)])
def test_unsupported_statements_are_counted_for_the_newest_comparison(
    ward: Callable[..., Site], name: str, sees_link: bool
) -> None:
    """Counts hold no text; only roles that may read graded answers get the way to them."""
    site = ward()
    judge_the_drafts(site.settings, site.ledger)
    found = {"adapter_id": ADAPTER, "incumbent": BASE}
    verdict = record(site, document=DOCUMENT | {"criteria": CRITERIA}, **found)
    older = record(site, document=DOCUMENT | {"criteria": CRITERIA}, **found | {"adapter_id": "another"})
    visitor = enter(site, name)
    shown = re.sub("<.*?>", "", visitor.get(f"/verdicts/{verdict.verdict_id}").text)
    assert "Unsupported statements: candidate 6 of 12, incumbent 6 of 12." in shown
    assert ('href="/graded-answers">Statements' in visitor.get(f"/verdicts/{verdict.verdict_id}").text) == sees_link
    assert "Unsupported statements" not in visitor.get(f"/verdicts/{older.verdict_id}").text


def test_plots_have_descriptions_and_contain_no_style_or_script(site: Site) -> None:
    """The content security policy blocks inline styles, and screen readers need descriptions."""
    verdict = record(site)
    shown = enter(site, "Auditor").get(f"/verdicts/{verdict.verdict_id}")
    plots = re.findall(r'<svg class="plot".*?</svg>', shown.text, re.DOTALL)
    assert len(plots) == 6
    ids = []
    for plot in plots:
        root = ElementTree.fromstring(plot)
        named = (root.get("aria-labelledby") or "").split()
        assert [root.find(tag).get("id") for tag in ("title", "desc")] == named  # type: ignore[union-attr]
        ids += named
        width, height = (float(side) for side in (root.get("viewBox") or "").split()[2:])
        for part in root.iter():
            assert part.tag != "script"
            assert "style" not in part.attrib
            for name, most in (
                ("x", width),
                ("x1", width),
                ("x2", width),
                ("cx", width),
                ("y", height),
                ("cy", height),
            ):
                assert 0 <= float(part.get(name, 0)) <= most, (part.tag, name)
    assert len(set(ids)) == len(ids)
    assert not re.search(r"\sstyle=|<style|<script(?! src=)", shown.text)


def test_a_verdict_with_unreadable_evidence_shows_its_reasons(site: Site) -> None:
    """An auditor still sees the decision and its reasons, but no metrics."""
    auditor = enter(site, "Auditor")
    for number, document in enumerate(({}, [], None, DOCUMENT | {"metrics": [{}]})):
        verdict = record(site, document=document, reasons=("Measured then.",), adapter_id=f"adapter-{number}")
        shown = auditor.get(f"/verdicts/{verdict.verdict_id}")
        assert shown.status_code == 200, document
        assert "Measured then." in shown.text
        assert "another version wrote it" in shown.text
        assert '<svg class="plot"' not in shown.text


def test_an_approver_signs_a_hold_with_a_reason_and_the_gate_is_open(site: Site) -> None:
    """The signature carries the name of the session, not of the form."""
    verdict, chief = record(site), enter(site, "Chief")
    path = f"/verdicts/{verdict.verdict_id}"
    assert not is_open(site)
    reply = chief.post(f"{path}/sign", {"reason": REASON, "approver": "Another User"}, page=path)
    assert (reply.status_code, reply.headers["location"]) == (303, f"{path}?notice=signed")
    assert list_signers(site.ledger, verdict.verdict_id) == ["Chief"]
    assert is_open(site)
    shown = chief.get(path).text
    assert REASON in shown
    assert f"{path}/sign" not in shown
    assert "Chief" in chief.get("/verdicts").text
    line = audit.list_entries(site.ledger)[-1]
    assert (line.actor, line.action, line.resource) == ("Chief", "signed hold", verdict.verdict_id)


@pytest.mark.parametrize("decision", ["refuse", "promote"])
def test_only_a_hold_can_be_signed(site: Site, decision: str) -> None:
    """The form is not offered, and is refused if sent anyway."""
    verdict, chief = record(site, decision), enter(site, "Chief")
    path = f"/verdicts/{verdict.verdict_id}"
    assert f"{path}/sign" not in chief.get(path).text
    reply = chief.post(f"{path}/sign", {"reason": REASON}, page="/account")
    assert reply.status_code == 409
    assert verdict.verdict_id in unescape(reply.text)
    assert REASON in reply.text
    assert list_signers(site.ledger, verdict.verdict_id) == []


def test_a_hold_with_too_many_missing_grades_cannot_be_signed(site: Site) -> None:
    """The page explains why the form is missing."""
    gate = {**DOCUMENT["gate"], "maximum_missing_fraction": 0.05}
    verdict = record(site, document=DOCUMENT | {"missing_grades": 600, "gate": gate})
    path, chief = f"/verdicts/{verdict.verdict_id}", enter(site, "Chief")
    shown = unescape(chief.get(path).text)
    assert f"{path}/sign" not in shown
    assert "more grades are missing than the recipe allows" in shown
    reply = chief.post(f"{path}/sign", {"reason": REASON}, page="/account")
    assert reply.status_code == 409
    assert "600 of 780 test examples have no grade" in unescape(reply.text)
    assert list_signers(site.ledger, verdict.verdict_id) == []


def test_a_superseded_hold_cannot_be_signed(site: Site) -> None:
    """Only the newest verdict counts."""
    old = record(site)
    record(site, "refuse")
    path, chief = f"/verdicts/{old.verdict_id}", enter(site, "Chief")
    shown = chief.get(path).text
    assert "A newer verdict on this candidate replaces this one" in shown
    assert f"{path}/sign" not in shown
    assert chief.post(f"{path}/sign", {"reason": REASON}, page="/account").status_code == 409
    assert not is_open(site)


def test_a_signature_needs_a_reason_of_a_readable_length(site: Site) -> None:
    """An audit needs the reason of each signature."""
    verdict = record(site)
    path, chief = f"/verdicts/{verdict.verdict_id}", enter(site, "Chief")
    for reason in ("", "  \n", "x" * 2001):
        assert chief.post(f"{path}/sign", {"reason": reason}, page=path).status_code == 400
    assert not is_open(site)


def test_each_approver_can_sign_a_hold_once(site: Site) -> None:
    verdict = record(site)
    path = f"/verdicts/{verdict.verdict_id}"
    chief, deputy = enter(site, "Chief"), enter(site, "Deputy")
    assert chief.post(f"{path}/sign", {"reason": REASON}, page=path).status_code == 303
    assert chief.post(f"{path}/sign", {"reason": REASON}, page="/account").status_code == 400
    assert deputy.post(f"{path}/sign", {"reason": REASON}, page=path).status_code == 303
    assert list_signers(site.ledger, verdict.verdict_id) == ["Chief", "Deputy"]


@pytest.mark.parametrize("name", ["Auditor", "Operator"])
def test_readers_are_offered_no_signature_and_cannot_send_one(site: Site, name: str) -> None:
    """The server checks the roles, not only the page."""
    verdict = record(site)
    path, reader = f"/verdicts/{verdict.verdict_id}", enter(site, name)
    assert f"{path}/sign" not in reader.get(path).text
    assert reader.post(f"{path}/sign", {"reason": REASON}, page="/account").status_code == 403
    assert not is_open(site)


def test_a_form_without_its_token_signs_nothing(site: Site) -> None:
    """Another site must not sign in an approver's name."""
    verdict, chief = record(site), enter(site, "Chief")
    path = f"/verdicts/{verdict.verdict_id}/sign"
    assert chief.client.post(path, data={"reason": REASON}, headers={"origin": site.url}).status_code == 403
    assert not is_open(site)


def test_a_signed_hold_shows_what_still_blocks_the_candidate(site: Site) -> None:
    """After the production model changed, the signature alone does not open the gate, and the page says so."""
    verdict = record(site, incumbent="another adapter")
    path, chief = f"/verdicts/{verdict.verdict_id}", enter(site, "Chief")
    chief.post(f"{path}/sign", {"reason": REASON}, page=path)
    assert '<p class="note warn" role="status">' in chief.get(path).text


def test_the_list_is_paged(site: Site) -> None:
    for number in range(52):
        record(site, adapter_id=f"adapter-{number:02}", document={})
    auditor = enter(site, "Auditor")
    first = auditor.get("/verdicts").text
    older = re.search(r'href="(/verdicts\?before=\d+)"', first)
    assert older is not None
    assert "adapter-51" in first
    assert "adapter-01" not in first
    assert "adapter-01" in auditor.get(older[1]).text
    assert auditor.get("/verdicts?before=nonsense").status_code == 200
    assert auditor.get(f"/verdicts/{'0' * 16}").status_code == 404
