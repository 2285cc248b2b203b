"""Verdicts over HTTP: what an approver reads, and that only a hold that still decides can be signed, by an approver."""

import re
from collections.abc import Callable
from html import unescape
from typing import Any
from xml.etree import ElementTree

import pytest

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.records import Verdict
from fine_tune_assets.ledger.audit import audit
from fine_tune_assets.ledger.serving.verdicts import record_verdict, require_promotion, signers_of
from fine_tune_assets_tests.desk.conftest import Site, Visitor
from fine_tune_assets_tests.desk.verdict_documents import DOCUMENT, evidence
from fine_tune_assets_tests.ledger.made import FINGERPRINTS, make_verdict

REASON = "Read fifty answers by hand; the loss on copa does not matter for a discharge letter."


ROLES = {"Chief": "approver", "Deputy": "approver", "Auditor": "auditor", "Operator": "operator"}


@pytest.fixture
def site(serve: Callable[..., Site]) -> Site:
    return serve()


def enter(site: Site, name: str) -> Visitor:
    """Add a user and sign in. Only whom a test needs: a password takes long to hash."""
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


def test_a_verdict_shows_its_reasons_every_figure_and_what_it_rests_on(site: Site) -> None:
    """An approver decides by this page alone."""
    verdict = record(site, reasons=("It may have forgotten copa.", "Only 180 examples."))
    shown = unescape(enter(site, "Chief").get(f"/verdicts/{verdict.verdict_id}").text)
    for told in (
        "It may have forgotten copa.", "Only 180 examples.", "180 test examples were graded", "240 would be enough",
        "7.41", "6.93", "0.48", "(0.12 to 0.85)", "0.012", "-0.110", "(-0.200 to -0.020)", "It may have lost more than 0.05.",
        "Only 3 patients.", "< 0.001", "adapter-1", "base-1", "set-1", "recipe-1", "scores-1", "judge-1", "0.62",
        "minimum examples", "60 %", "178 pairs", "(95 % interval 53 to 67 %)", "84 %",
        "It can't see what was made up.", "candidate 6.31, incumbent 5.92",
    ):  # fmt: skip
        assert told in shown, told


def test_the_plots_are_whole_pictures_with_words_and_without_style_or_script(site: Site) -> None:
    """The content policy would drop an inline style, and who can't see the picture is told what it shows."""
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


def test_a_verdict_whose_document_can_not_be_read_is_shown_with_its_reasons(site: Site) -> None:
    """An auditor still learns what was decided and why; no figure is made up."""
    auditor = enter(site, "Auditor")
    for number, document in enumerate(({}, [], None, DOCUMENT | {"figures": [{}]})):
        verdict = record(site, document=document, reasons=("Measured then.",), adapter_id=f"adapter-{number}")
        shown = auditor.get(f"/verdicts/{verdict.verdict_id}")
        assert shown.status_code == 200, document
        assert "Measured then." in shown.text
        assert "another version wrote it" in shown.text
        assert '<svg class="plot"' not in shown.text


def test_an_approver_signs_a_hold_with_a_reason_and_the_gate_is_open(site: Site) -> None:
    """By the name that signed in: nobody types one."""
    verdict, chief = record(site), enter(site, "Chief")
    path = f"/verdicts/{verdict.verdict_id}"
    assert not is_open(site)
    reply = chief.post(f"{path}/sign", {"reason": REASON, "approver": "Somebody else"}, page=path)
    assert (reply.status_code, reply.headers["location"]) == (303, f"{path}?said=signed")
    assert signers_of(site.ledger, verdict.verdict_id) == ["Chief"]
    assert is_open(site)
    shown = chief.get(path).text
    assert REASON in shown
    assert f"{path}/sign" not in shown
    assert "Chief" in chief.get("/verdicts").text
    line = audit.lines(site.ledger)[-1]
    assert (line.who, line.what, line.about) == ("Chief", "signed hold", verdict.verdict_id)


@pytest.mark.parametrize("decision", ["refuse", "promote"])
def test_only_a_hold_can_be_signed(site: Site, decision: str) -> None:
    """Not offered, and refused when it is sent all the same."""
    verdict, chief = record(site, decision), enter(site, "Chief")
    path = f"/verdicts/{verdict.verdict_id}"
    assert f"{path}/sign" not in chief.get(path).text
    reply = chief.post(f"{path}/sign", {"reason": REASON}, page="/account")
    assert reply.status_code == 409
    assert "only an unchanged `hold` can be signed" in unescape(reply.text)
    assert REASON in reply.text
    assert signers_of(site.ledger, verdict.verdict_id) == []


def test_a_hold_that_most_grades_are_missing_from_is_not_offered_and_not_taken(site: Site) -> None:
    """The page says why, so that nobody looks for the button."""
    gate = {**DOCUMENT["gate"], "maximum_missing_fraction": 0.05}
    verdict = record(site, document=DOCUMENT | {"missing_grades": 600, "gate": gate})
    path, chief = f"/verdicts/{verdict.verdict_id}", enter(site, "Chief")
    shown = unescape(chief.get(path).text)
    assert f"{path}/sign" not in shown
    assert "Nobody can sign it: more grades are missing than the recipe allows" in shown
    reply = chief.post(f"{path}/sign", {"reason": REASON}, page="/account")
    assert reply.status_code == 409
    assert "600 of 780 test examples have no grade" in unescape(reply.text)
    assert signers_of(site.ledger, verdict.verdict_id) == []


def test_a_hold_that_was_superseded_can_not_be_signed(site: Site) -> None:
    """The newest verdict decides; a signature on an older one would be worth nothing."""
    old = record(site)
    record(site, "refuse")
    path, chief = f"/verdicts/{old.verdict_id}", enter(site, "Chief")
    shown = chief.get(path).text
    assert "A newer verdict on this candidate decides" in shown
    assert f"{path}/sign" not in shown
    assert chief.post(f"{path}/sign", {"reason": REASON}, page="/account").status_code == 409
    assert not is_open(site)


def test_a_signature_needs_a_reason_of_a_readable_length(site: Site) -> None:
    """ "Signed" without a why is what an audit stumbles over."""
    verdict = record(site)
    path, chief = f"/verdicts/{verdict.verdict_id}", enter(site, "Chief")
    for reason in ("", "  \n", "x" * 2001):
        assert chief.post(f"{path}/sign", {"reason": reason}, page=path).status_code == 400
    assert not is_open(site)


def test_the_same_approver_signs_once_and_another_one_may_sign_too(site: Site) -> None:
    verdict = record(site)
    path = f"/verdicts/{verdict.verdict_id}"
    chief, deputy = enter(site, "Chief"), enter(site, "Deputy")
    assert chief.post(f"{path}/sign", {"reason": REASON}, page=path).status_code == 303
    assert chief.post(f"{path}/sign", {"reason": REASON}, page="/account").status_code == 400
    assert deputy.post(f"{path}/sign", {"reason": REASON}, page=path).status_code == 303
    assert signers_of(site.ledger, verdict.verdict_id) == ["Chief", "Deputy"]


@pytest.mark.parametrize("name", ["Auditor", "Operator"])
def test_who_only_reads_is_offered_no_signature_and_can_not_send_one(site: Site, name: str) -> None:
    """The roles are checked by the server, not by what the page shows."""
    verdict = record(site)
    path, reader = f"/verdicts/{verdict.verdict_id}", enter(site, name)
    assert f"{path}/sign" not in reader.get(path).text
    assert reader.post(f"{path}/sign", {"reason": REASON}, page="/account").status_code == 403
    assert not is_open(site)


def test_a_form_without_its_token_signs_nothing(site: Site) -> None:
    """A page elsewhere must not sign in an approver's name."""
    verdict, chief = record(site), enter(site, "Chief")
    path = f"/verdicts/{verdict.verdict_id}/sign"
    assert chief.client.post(path, data={"reason": REASON}, headers={"origin": site.url}).status_code == 403
    assert not is_open(site)


def test_a_signed_hold_says_what_still_keeps_the_candidate_back(site: Site) -> None:
    """Another model serves by now: a signature alone changes nothing, and who signs is told."""
    verdict = record(site, incumbent="another adapter")
    path, chief = f"/verdicts/{verdict.verdict_id}", enter(site, "Chief")
    chief.post(f"{path}/sign", {"reason": REASON}, page=path)
    assert "serves now" in chief.get(path).text


def test_the_list_goes_back_a_page_at_a_time(site: Site) -> None:
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
