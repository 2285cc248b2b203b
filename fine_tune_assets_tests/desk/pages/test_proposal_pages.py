"""Imported decisions on the desk: what the person sees, what one signature records, and which lines are refused."""

import html
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from fine_tune_assets.approval.decision_exchange import import_decisions, parse_decision_lines
from fine_tune_assets.core.keys import read_or_create_key
from fine_tune_assets.ledger.encryption import KEY_NAME
from fine_tune_assets.ledger.reviews.decision_records import list_decisions
from fine_tune_assets.ledger.reviews.proposal_records import list_files, list_waiting
from fine_tune_assets.phi.missed_identifiers.marks import mark_missed_identifier
from fine_tune_assets.phi.spans.vocabulary import load_vocabulary
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.tables.approval_rows import DraftedExample
from fine_tune_assets_tests.desk.conftest import Site, Visitor
from fine_tune_assets_tests.desk.installation import MISSED, drafts_of, scrub_again

ONE, TWO, CHIEF = "Reviewer One", "Reviewer Two", "Approver One"
REPAIR = "Cough and a rash."


@pytest.fixture
def site(ward: Callable[..., Site]) -> Site:
    made = ward(reviewers=2)
    for name, role in ((ONE, "reviewer"), (TWO, "reviewer"), (CHIEF, "approver")):
        made.add(name, role)
    return made


def line(number: int, draft: dict[str, Any], reviewer: str = ONE, **more: Any) -> str:
    value = {"id": f"t-{number}", "example_id": draft["example_id"], "fingerprint": draft["fingerprint"]}
    return json.dumps({**value, "reviewer": reviewer, "decision": "approve", **more})


def bring(site: Site, *lines: str) -> str:
    """Import these lines; returns the id of the file."""
    drafts = {draft["example_id"]: draft for draft in drafts_of(site.settings)}
    summary = import_decisions(
        site.ledger,
        list(parse_decision_lines(lines)),
        lambda example_id: DraftedExample.from_row(drafts[example_id]),
        by="os:eve",
        authors={},
        now=datetime.now(UTC),
    )
    assert summary.issues == ()
    return list_files(site.ledger)[-1].file_id


def sign(visitor: Visitor, file_id: str, **changes: Any) -> httpx.Response:
    """Open the page and sign every line, with every flag ticked."""
    page = visitor.get(f"/proposals/{file_id}").text
    form = {"line": re.findall(r'name="line" value="([^"]*)"', page)}
    form["acknowledged"] = re.findall(r'name="acknowledged" value="([^"]*)"', page)
    return visitor.post(f"/proposals/{file_id}/sign", {**form, **changes}, page="/account")


def made_by(site: Site) -> list[tuple[str, str, str | None]]:
    return [(made.reviewer, made.decision, made.output) for made in list_decisions(site.ledger)]


def test_one_signature_covers_a_file_and_every_line_shows_what_is_signed(site: Site) -> None:
    """Fingerprint, example, decision, change and flags of each line."""
    first, second, third = drafts_of(site.settings)[:3]
    reject = {"decision": "reject", "reason_code": "wrong_value", "reason": "Twice the dose."}
    file_id = bring(site, line(1, first, output=REPAIR), line(2, second), line(3, third, **reject))
    one = site.signed_in(ONE)
    assert "3 imported decisions to sign" in one.get("/").text
    assert f'href="/proposals/{file_id}"' in one.get("/proposals").text
    page = html.unescape(one.get(f"/proposals/{file_id}").text)
    signed = [proposal.proposed for proposal in list_waiting(site.ledger)]
    assert all((made.approved_fingerprint or made.fingerprint)[:16] in page for made in signed)
    assert all(made.example_id[:8] in page and made.meaning in page for made in signed)
    assert "Twice the dose." in page
    assert second["output"] in re.sub(r"<[^>]*>", "", page)
    assert sign(one, file_id).status_code == 303
    assert made_by(site) == [(ONE, "approve", REPAIR), (ONE, "approve", None), (ONE, "reject", None)]
    assert one.get(f"/proposals/{file_id}").status_code == 404
    assert sign(one, file_id, line=["x 1 y"]).status_code == 409


def test_a_person_sees_and_signs_only_their_own_lines(site: Site) -> None:
    """A second review is blind, also to what waits for a signature."""
    first, second = drafts_of(site.settings)[:2]
    file_id = bring(site, line(1, first, output=REPAIR), line(2, second, TWO))
    one, two, chief = (site.signed_in(name) for name in (ONE, TWO, CHIEF))
    assert "rash" in one.get(f"/proposals/{file_id}").text
    assert "rash" not in two.get(f"/proposals/{file_id}").text
    theirs = re.findall(r'name="line" value="([^"]*)"', one.get(f"/proposals/{file_id}").text)
    refused = sign(two, file_id, line=theirs)
    assert (refused.status_code, f"Only {ONE} can sign" in refused.text) == (409, True)
    assert made_by(site) == []
    assert sign(two, file_id).status_code == 303
    assert made_by(site) == [(TWO, "approve", None)]
    assert chief.get(f"/proposals/{file_id}").status_code == 404
    listed = chief.get("/proposals").text
    assert (ONE in listed, TWO in listed, first["example_id"] in listed) == (True, False, False)
    assert ONE not in two.get("/proposals").text


def test_a_line_with_an_unticked_flag_is_refused_and_the_others_are_recorded(site: Site) -> None:
    """The page of an item asks for the same."""
    flagged = next(draft for draft in drafts_of(site.settings) if draft["flags"])
    plain = next(draft for draft in drafts_of(site.settings) if not draft["flags"])
    file_id = bring(site, line(1, flagged), line(2, plain))
    one = site.signed_in(ONE)
    refused = sign(one, file_id, acknowledged=[])
    assert (refused.status_code, "line 1" in refused.text, "not ticked" in refused.text) == (409, True, True)
    assert [made.example_id for made in list_decisions(site.ledger)] == [plain["example_id"]]
    assert sign(one, file_id).status_code == 303
    assert len(made_by(site)) == 2


def test_a_refusal_keeps_what_the_person_had_ticked_and_left_unticked(site: Site) -> None:
    """Lines that the person had unticked were ticked again, and every flag had to be ticked again."""
    drafts = drafts_of(site.settings)
    flagged = [draft for draft in drafts if draft["flags"]][:2]
    assert len(flagged) == 2
    plain = [draft for draft in drafts if not draft["flags"]][:2]
    file_id = bring(site, *(line(n, draft) for n, draft in enumerate([*flagged, *plain])))
    one = site.signed_in(ONE)
    page = one.get(f"/proposals/{file_id}").text
    fields, codes = (re.findall(rf'name="{name}" value="([^"]*)"', page) for name in ("line", "acknowledged"))
    of_first = codes[: len(flagged[0]["flags"])]
    shown = re.findall(r'name="shown" value="([^"]*)"', page)
    assert [field.split(" ")[0] for field in fields] == shown
    form = {"line": fields[:3], "shown": shown, "acknowledged": codes[1:]}
    refused = one.post(f"/proposals/{file_id}/sign", form, page="/account")
    assert (refused.status_code, "not ticked" in refused.text, len(made_by(site))) == (409, True, 2)
    assert re.findall(r'name="line" value="([^" ]*)[^"]*" checked', refused.text) == [shown[0]]
    assert re.findall(r'name="line" value="([^" ]*)[^"]*"(?! checked)', refused.text) == [shown[3]]
    assert re.findall(r'name="acknowledged" value="([^"]*)" checked', refused.text) == of_first[1:]
    everything = {"line": fields[:1], "shown": [shown[0], shown[3]], "acknowledged": of_first}
    assert one.post(f"/proposals/{file_id}/sign", everything, page="/account").status_code == 303
    assert len(made_by(site)) == 3


def test_lines_that_the_person_has_not_seen_are_ticked_after_a_refusal(site: Site) -> None:
    """They follow on the page when earlier lines are recorded."""
    first, second = drafts_of(site.settings)[:2]
    file_id = bring(site, line(1, first), line(2, second))
    one = site.signed_in(ONE)
    fields = re.findall(r'name="line" value="([^"]*)"', one.get(f"/proposals/{file_id}").text)
    sent = {"line": [f"{fields[0].split(' ')[0]} 99 x"], "shown": [fields[0].split(" ")[0]]}
    refused = one.post(f"/proposals/{file_id}/sign", sent, page="/account")
    assert refused.status_code == 409
    assert re.findall(r'name="line" value="([^"]*)" checked', refused.text) == fields


def test_a_line_whose_content_was_edited_in_the_form_is_refused(site: Site) -> None:
    """The form sends the version and the fingerprint that the page showed."""
    file_id = bring(site, line(1, drafts_of(site.settings)[0]))
    one = site.signed_in(ONE)
    (field,) = re.findall(r'name="line" value="([^"]*)"', one.get(f"/proposals/{file_id}").text)
    proposal_id, version, fingerprint = field.split(" ")
    for edited in (
        f"{proposal_id} {version} {'0' * 64}",
        f"{proposal_id} {int(version) + 1} {fingerprint}",
        f"{proposal_id}",
        f"{'0' * 32} {version} {fingerprint}",
        " ",
    ):
        assert sign(one, file_id, line=[edited]).status_code == 409, edited
    assert sign(one, file_id, line=[]).status_code == 400
    assert sign(one, file_id, line=[f"{n} 1 x" for n in range(51)]).status_code == 400
    assert made_by(site) == []
    assert sign(one, "0" * 32, line=[field]).status_code == 409


def test_a_line_that_can_not_be_signed_says_why_and_can_be_withdrawn(site: Site) -> None:
    """Two others decided on the example meanwhile."""
    draft = drafts_of(site.settings)[0]
    file_id = bring(site, line(1, draft), line(2, drafts_of(site.settings)[1]))
    site.add("Reviewer Three", "reviewer")
    for name in (TWO, "Reviewer Three"):
        assert site.signed_in(name).approve(draft).status_code == 303
    one = site.signed_in(ONE)
    page = one.get(f"/proposals/{file_id}").text
    assert ("already approved" in page, len(re.findall(r'name="line" value="[^"]*" checked', page))) == (True, 1)
    assert sign(one, file_id).status_code == 409
    (left,) = re.findall(r'name="line" value="([^"]*)"', one.get(f"/proposals/{file_id}").text)
    assert one.post(f"/proposals/{file_id}/withdraw", {}, page="/account").status_code == 400
    assert (
        site.signed_in(TWO).post(f"/proposals/{file_id}/withdraw", {"line": left}, page="/account").status_code == 303
    )
    assert len(list_waiting(site.ledger)) == 1
    assert one.post(f"/proposals/{file_id}/withdraw", {"line": left}, page="/account").status_code == 303
    assert list_waiting(site.ledger) == []


def test_a_text_with_a_marked_identifier_is_neither_shown_nor_signed(site: Site) -> None:
    """No scrubber reads what was typed in another tool."""
    draft = next(d for d in drafts_of(site.settings) if d["report_id"].endswith("00000"))
    file_id = bring(site, line(1, draft, output=f"Cough, seen with {MISSED}."))
    recipe = load_recipe(site.settings.recipe)
    mark_missed_identifier(
        site.ledger,
        read_or_create_key(site.settings.layout.keys, KEY_NAME),
        site.settings.layout,
        load_vocabulary(recipe.domain),
        report_id=draft["report_id"],
        kind="NAME",
        term=MISSED,
        marked_by="os:eve",
    )
    scrub_again(site.settings, site.ledger, MISSED)
    one = site.signed_in(ONE)
    page = one.get(f"/proposals/{file_id}").text
    assert (MISSED in page, "withheld" in page) == (False, True)
    assert sign(one, file_id).status_code == 409
    assert made_by(site) == []
