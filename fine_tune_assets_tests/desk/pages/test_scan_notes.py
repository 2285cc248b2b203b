"""The item page marks what the scan of the final texts takes for identifiers, in exactly the text that was scanned."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from fine_tune_assets.approval.drafts import content_fingerprint
from fine_tune_assets.ledger.reviews.decision_records import list_decisions, revoke_decision
from fine_tune_assets.lineage.final_text_findings import read_newest_findings, write_findings
from fine_tune_assets.tables.instruction_rows import FinalTextFinding
from fine_tune_assets_tests.desk.accessibility import check, look
from fine_tune_assets_tests.desk.conftest import Site, Visitor, sign_in_at
from fine_tune_assets_tests.desk.installation import MISSED, SOURCE, drafts_of, refresh_queue

__all__ = ["look"]
TYPED = "Cough and fever, as Oakbarrow said."
Ward = Callable[..., Site]


@pytest.fixture
def site(ward: Ward) -> Site:
    made = ward(reviewers=1)
    made.add("Reviewer One", "reviewer")
    return made


@pytest.fixture
def one(site: Site) -> Visitor:
    return site.signed_in("Reviewer One")


def find_words(site: Site, draft: dict[str, Any], scanned: str, /, **words: str) -> None:
    """What the scan of an instruction set with this text found: part → word; `unplaced` is a kind without a place."""
    texts = {**draft, "output": scanned}
    common: dict[str, Any] = {
        "example_id": draft["example_id"],
        "fingerprint": content_fingerprint(draft["instruction"], draft["input"], scanned),
    }
    rows = []
    for part, word in words.items():
        place: dict[str, Any] = {"kind": word, "part": None, "start": None, "end": None}
        if part != "unplaced":
            start = texts[part].index(word)
            place = {"kind": "NAME", "part": part, "start": start, "end": start + len(word)}
        rows.append(FinalTextFinding(**common, **place))
    write_findings(site.settings.layout.instruction_sets, "a" * 64, rows)


def marked(shown: str) -> list[str]:
    """The words that the page marks in the texts, without those that its note repeats."""
    return re.findall(r'<mark title="[^"]*taken for NAME[^"]*"[^>]*class="is-found">([^<]*)</mark>', shown)


def test_an_approved_item_marks_the_words_of_the_repaired_output_that_was_scanned(site: Site, one: Visitor) -> None:
    """The gate names the example; without the marks, its reviewer guesses which words it means."""
    draft = drafts_of(site.settings)[0]
    assert one.approve(draft, TYPED).status_code == 303
    find_words(site, draft, TYPED, output="Oakbarrow", input="Linden", instruction=draft["instruction"].split()[0])
    shown = one.get(f"/items/{draft['example_id']}").text
    assert set(marked(shown)) == {"Oakbarrow", "Linden", draft["instruction"].split()[0]}
    assert 'id="scan-note"' in shown
    assert "(NAME, in the output)" in shown
    assert 'href="/decisions"' in shown[shown.index('id="scan-note"') :]


def test_the_text_of_a_pair_of_blind_reviewers_is_the_approved_one(ward: Ward) -> None:
    """Such a page shows the draft otherwise, and the words that both reviewers typed would be nowhere on it."""
    site = ward(reviewers=2)
    draft = drafts_of(site.settings)[0]
    for name in ("Reviewer One", "Reviewer Two"):
        site.add(name, "reviewer")
        assert site.signed_in(name).approve(draft, TYPED).status_code == 303
    find_words(site, draft, TYPED, output="Oakbarrow")
    shown = site.signed_in("Reviewer One").get(f"/items/{draft['example_id']}").text
    assert marked(shown) == ["Oakbarrow"]
    assert "Approved as repaired" in shown


def test_another_text_than_the_scanned_one_has_no_marks(site: Site, one: Visitor) -> None:
    """After a revocation and another repair, the same places hold other words."""
    draft = drafts_of(site.settings)[0]
    find_words(site, draft, TYPED, output="Oakbarrow")
    shown = one.get(f"/items/{draft['example_id']}").text
    assert "scan-note" not in shown
    assert marked(shown) == []


def test_an_item_without_findings_has_no_note(site: Site, one: Visitor) -> None:
    """The note must mean something."""
    first, second = drafts_of(site.settings)[:2]
    find_words(site, first, first["output"], output=first["output"].split()[0])
    assert "scan-note" in one.get(f"/items/{first['example_id']}").text
    assert "scan-note" not in one.get(f"/items/{second['example_id']}").text


def test_a_finding_without_a_place_is_stated(site: Site, one: Visitor) -> None:
    """A reviewer who sees no mark would think that nothing was found."""
    draft = drafts_of(site.settings)[0]
    find_words(site, draft, draft["output"], unplaced="PHONE")
    shown = one.get(f"/items/{draft['example_id']}").text
    note = shown[shown.index('id="scan-note"') :].partition("</div>")[0]
    assert "PHONE 1" in note
    assert marked(shown) == []


def test_found_words_are_shown_as_text_and_places_beyond_the_text_mark_nothing(site: Site, one: Visitor) -> None:
    """A reviewer can type anything, and a table can be older than the text."""
    draft, typed = drafts_of(site.settings)[0], 'Fever, said <img src=x onerror="alert(1)">.'
    assert one.approve(draft, typed).status_code == 303
    find_words(site, draft, typed, output='<img src=x onerror="alert(1)">')
    shown = one.get(f"/items/{draft['example_id']}").text
    assert "<img src=x" not in shown
    assert shown.count("&lt;img src=x") >= 2  # in the note, and in the text
    (found,) = read_newest_findings(site.settings.layout.instruction_sets)
    write_findings(site.settings.layout.instruction_sets, "a" * 64, [replace(found, start=900, end=910)])
    assert marked(one.get(f"/items/{draft['example_id']}").text) == []


def test_a_damaged_table_of_findings_closes_no_page(site: Site, one: Visitor) -> None:
    """Reviews must go on; the gate itself rests on the set."""
    draft = drafts_of(site.settings)[0]
    root: Path = site.settings.layout.instruction_sets
    root.mkdir(parents=True)
    (root / "0a.findings.parquet").write_bytes(b"PAR1 and no table")
    assert one.get(f"/items/{draft['example_id']}").status_code == 200


def step_states(shown: str) -> dict[str, str]:
    """Step of the pipeline → state, of the home page."""
    return {name: state for state, name in re.findall(r'<li class="is-(\w+)" data-step="(\w+)"', shown)}


def test_the_first_page_leads_the_reviewer_to_the_examples_that_close_the_gate(site: Site, one: Visitor) -> None:
    """It said "Nothing waits for you" and "Nothing yet" while every training was blocked."""
    draft = drafts_of(site.settings)[0]
    assert one.approve(draft, TYPED).status_code == 303
    before = one.get("/").text
    assert "seems to contain identifiers" not in before
    find_words(site, draft, TYPED, output="Oakbarrow")
    shown = one.get("/").text
    assert "1 approved example to check for identifiers" in shown
    assert shown.count(f'href="/items/{draft["example_id"]}"') == 2  # the task, and the alert
    assert {step_states(shown)[name] for name in ("training", "verdict", "live")} == {"waiting"}
    assert step_states(before)["training"] == "empty"


def test_an_example_leaves_the_list_when_its_decision_is_revoked(site: Site, one: Visitor) -> None:
    """The reviewer has done their part; the next set follows."""
    draft = drafts_of(site.settings)[0]
    one.approve(draft, TYPED)
    find_words(site, draft, TYPED, output="Oakbarrow")
    with site.ledger.begin() as connection:
        (decision,) = list_decisions(connection)
        revoke_decision(connection, decision.decision_id, "Reviewer One", "It names a person.", datetime.now(UTC))
    refresh_queue(site.settings, site.ledger)
    assert "seems to contain identifiers" not in one.get("/").text
    assert one.approve(draft, "Cough and fever.").status_code == 303
    assert "seems to contain identifiers" not in one.get("/").text


def test_an_example_leaves_the_list_when_its_identifier_is_marked(site: Site, one: Visitor) -> None:
    """It is withheld from then on."""
    (draft,) = [draft for draft in drafts_of(site.settings) if MISSED in draft["input"]]
    one.approve(draft)
    find_words(site, draft, draft["output"], input=MISSED)
    assert "seems to contain identifiers" in one.get("/").text
    item = f"/items/{draft['example_id']}"
    assert one.post(f"{item}/mark", {"term": MISSED, "kind": "NAME"}, page=item).status_code == 303
    assert "seems to contain identifiers" not in one.get("/").text


def test_a_draft_of_a_trusted_source_counts_as_approved(ward: Ward) -> None:
    """It has no decision, and closes the gate too."""
    site = ward(fields={"trusted_sources": {SOURCE: "published"}})
    site.add("Reviewer One", "reviewer")
    draft = drafts_of(site.settings)[0]
    find_words(site, draft, draft["output"], output=draft["output"].split()[0])
    shown = site.signed_in("Reviewer One").get("/").text
    assert "1 approved example to check for identifiers" in shown


def test_the_marked_page_keeps_the_rules(site: Site, one: Visitor, look: Page) -> None:
    """In both looks and widths, with marks in three texts."""
    draft = drafts_of(site.settings)[0]
    assert one.approve(draft, TYPED).status_code == 303
    find_words(site, draft, TYPED, output="Oakbarrow", input="Linden", unplaced="PHONE")
    sign_in_at(look, site, "Reviewer One")
    look.goto(f"{site.url}/items/{draft['example_id']}")
    expect(look.locator("#scan-note")).to_be_visible()
    check(look, "an item with findings of the scan")
