"""The screen of one item in a real Chromium: what is visible without scrolling, flags, kept edits and corrections."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from fine_tune_assets.ledger.reviews.decision_records import list_decisions
from fine_tune_assets_tests.desk.accessibility import check, is_wider_than_its_window, look
from fine_tune_assets_tests.desk.conftest import Site, acknowledge_flags, sign_in_at
from fine_tune_assets_tests.desk.installation import add_correction, drafts_of, fill

__all__ = ["look"]
FLAGGED = "Cough for 77 days, on the left side."


@pytest.fixture
def site(ward: Callable[..., Site]) -> Site:
    made = ward()
    made.add("Reviewer One", "reviewer")
    return made


@pytest.fixture
def long_site(site: Site) -> Site:
    """Reports of several screens."""
    fill(site.settings, site.ledger, filler=30)
    return site


def open_item(page: Page, site: Site, row: dict[str, object] | None = None) -> dict[str, object]:
    """Sign in and open a draft, or the one with the most flags."""
    row = row or drafts_of(site.settings)[0]
    sign_in_at(page, site, "Reviewer One")
    page.goto(f"{site.url}/items/{row['example_id']}")
    return row


def is_in_window(part: Locator) -> bool:
    """Whether the whole part is visible: inside the window, above the buttons, and not scrolled out of its pane."""
    return bool(
        part.evaluate(
            """part => {
                const box = part.getBoundingClientRect();
                const bottom = document.querySelector('.dock').getBoundingClientRect().top;
                const at = (x, y) => part.contains(document.elementFromPoint(x, y));
                return box.top >= 0 && box.bottom <= bottom && at(box.left + 2, box.top + 2) && at(box.left + 2, box.bottom - 2);
            }"""
        )
    )


def test_the_output_and_every_flag_are_visible_without_scrolling(page: Page, long_site: Site) -> None:
    """A reviewer decides on the output: neither a long report nor a long input may push it down."""
    page.set_viewport_size({"width": 1440, "height": 900})
    row = open_item(page, long_site)
    flags = page.locator(".work .flaglist:visible li")
    assert flags.count() == len(row["flags"]) > 0  # type: ignore[arg-type]
    for part in (page.locator("#reading .text"), page.get_by_role("button", name="Edit"), *flags.all()):
        assert is_in_window(part)
    assert page.evaluate("document.documentElement.scrollHeight <= innerHeight")
    assert not is_wider_than_its_window(page)
    report, output = page.locator(".source").bounding_box(), page.locator(".work").bounding_box()
    assert report is not None
    assert output is not None
    assert report["x"] + report["width"] <= output["x"]
    scroller = page.locator(".source .scroller")
    assert scroller.evaluate("part => part.scrollHeight > part.clientHeight")


def test_on_a_phone_the_output_comes_before_the_report_and_the_buttons_stay(page: Page, long_site: Site) -> None:
    """In one column; the report is many screens long."""
    page.set_viewport_size({"width": 390, "height": 844})
    open_item(page, long_site)
    assert is_in_window(page.locator(".work .flaglist:visible li").first)
    output, report = page.locator("#h-output").bounding_box(), page.locator("#h-report").bounding_box()
    assert output is not None
    assert report is not None
    assert output["y"] < report["y"]
    for name in ("Approve", "Reject", "Skip", "Next"):
        expect(page.locator(".dock").get_by_text(name, exact=False).first).to_be_in_viewport(ratio=1)
    assert page.evaluate("document.querySelector('.dock').offsetHeight < innerHeight / 4")
    assert not is_wider_than_its_window(page)


def test_the_input_is_folded_where_the_report_shows_it_and_the_rest_is_marked(page: Page, site: Site) -> None:
    """The report has three sections, and the model sees one of them."""
    open_item(page, site)
    fold = page.locator("details.input")
    expect(fold.locator("summary")).to_contain_text("HISTORY OF PRESENT ILLNESS")
    assert fold.evaluate("part => part.open") is False
    outside = page.locator(".source .is-outside")
    assert "CHIEF COMPLAINT" in "".join(outside.all_inner_texts())
    assert "days of cough and a temperature" not in "".join(outside.all_inner_texts())
    expect(page.locator(".kinds")).to_contain_text("people")
    fold.locator("summary").click()
    expect(fold.get_by_text("days of cough")).to_be_visible()


def test_a_flag_shows_its_place_while_it_is_pointed_at_or_focused(page: Page, site: Site) -> None:
    """By mouse and by keyboard; after the pointer leaves, the mark is as before."""
    row = open_item(page, site)
    kinds = [flag.partition(":")[0] for flag in row["flags"]]  # type: ignore[attr-defined]
    flag = page.locator(".work .flaglist:visible li", has_text="number not in input").first
    number = str(kinds.index("number not in input") + 1)
    place = page.locator(f'#reading mark[data-flags~="{number}"]').first
    lit = re.compile("is-lit")
    expect(place).not_to_have_class(lit)
    flag.hover()
    expect(place).to_have_class(lit)
    page.locator("h1").hover()
    expect(place).not_to_have_class(lit)
    flag.get_by_role("button").focus()
    expect(place).to_have_class(lit)
    flag.get_by_role("button").blur()
    expect(place).not_to_have_class(lit)


def test_clicking_a_flag_scrolls_to_its_place(page: Page, site: Site) -> None:
    """In a long output the place is far below."""
    open_item(page, site)
    page.keyboard.press("e")
    page.locator("#output").fill("Cough and fever.\n" * 80 + "For 77 days.")
    expect(page.locator("#diff .flaglist")).to_contain_text("77 days")
    place = page.locator("#diff mark[data-flags]").first
    expect(place).not_to_be_in_viewport()
    page.locator("#diff .flaglist button").first.click()
    expect(place).to_be_in_viewport()


def test_flags_are_acknowledged_one_by_one_before_signing(page: Page, site: Site) -> None:
    """By keyboard alone: the first flag has the focus, and the browser refuses to sign before the last one is ticked."""
    row = open_item(page, site)
    page.keyboard.press("e")
    with page.expect_response("**/diff"):
        page.locator("#output").fill(FLAGGED)
    page.keyboard.press("Control+Enter")
    boxes = page.locator("#approve-dialog").get_by_role("checkbox")
    expect(boxes).to_have_count(2)
    expect(boxes.first).to_be_focused()
    page.keyboard.press("Space")
    expect(boxes.first).to_be_checked()
    page.keyboard.press("Enter")
    expect(boxes.nth(1)).to_be_focused()
    assert list_decisions(site.ledger) == []
    page.keyboard.press("Space")
    expect(boxes.nth(1)).to_be_checked()
    page.keyboard.press("Enter")
    page.wait_for_url("**notice=approved")
    (decision,) = list_decisions(site.ledger)
    assert (decision.example_id, decision.output) == (row["example_id"], FLAGGED)


def test_a_kept_edit_is_there_when_the_item_is_opened_again(page: Page, site: Site) -> None:
    """Leaving needs no confirmation, because nothing is lost."""
    row = open_item(page, site)
    item = f"{site.url}/items/{row['example_id']}"
    page.keyboard.press("e")
    with page.expect_response("**/diff"):
        page.locator("#output").fill(FLAGGED)
    page.keyboard.press("Escape")
    page.keyboard.press("s")
    page.wait_for_url("**notice=skipped")
    page.goto(item)
    expect(page.locator(".restored")).to_be_visible()
    expect(page.locator("#output")).to_have_value(FLAGGED)
    expect(page.locator("#diff ins").first).to_be_visible()
    page.keyboard.press("a")  # a key of the page, not a letter of the text
    expect(page.locator("#approve-dialog")).to_be_visible()
    expect(page.locator("#output")).to_have_value(FLAGGED)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Discard it").click()
    expect(page.locator(".restored")).to_have_count(0)
    expect(page.locator("#reading .text")).to_contain_text(str(row["output"])[:20])


def test_the_position_counts_on_with_each_decision(page: Page, site: Site) -> None:
    """Six drafts wait."""
    open_item(page, site)
    expect(page.locator("#position")).to_have_text("1 of 6")
    page.keyboard.press("a")
    acknowledge_flags(page)
    page.get_by_role("button", name="Sign and approve", exact=True).click()
    page.wait_for_url("**notice=approved")
    expect(page.locator("#position")).to_have_text("2 of 6")


def test_the_guidelines_of_the_task_are_beside_the_instruction(page: Page, ward: Callable[..., Site]) -> None:
    """Folded, as Markdown; what looks like HTML is text."""
    site = ward(guidelines={"chief_complaint": "**Reject** if <b>vague</b>."})
    site.add("Reviewer One", "reviewer")
    open_item(page, site)
    text = page.locator(".guidelines")
    expect(text).not_to_be_visible()
    page.get_by_text("Guidelines").click()
    expect(text).to_have_text("Reject if <b>vague</b>.")
    expect(text.locator("strong")).to_have_text("Reject")
    assert not is_wider_than_its_window(page)


CORRECTED = {"answer": "Take two tablets.", "error_kind": "hallucination", "severity": "high"}


def test_a_correction_is_reviewed_in_the_same_layout(page: Page, site: Site) -> None:
    """Question and wrong answer are beside the corrected answer and the difference."""
    page.set_viewport_size({"width": 1440, "height": 900})
    add_correction(site.settings, site.ledger, "ward-a", **CORRECTED)
    row = next(row for row in drafts_of(site.settings) if row["source"] == "correction")
    open_item(page, site, row)
    source, work = page.locator(".source"), page.locator(".work")
    for text in (row["instruction"], CORRECTED["answer"], "severity high"):
        expect(source.get_by_text(text)).to_be_in_viewport()
    expect(work.locator("#reading .text")).to_have_text(row["output"])
    expect(work.locator("ins").first).to_be_in_viewport()
    expect(work.locator("del").first).to_be_in_viewport()
    page.keyboard.press("a")
    page.get_by_role("button", name="Sign and approve", exact=True).click()
    page.wait_for_url("**notice=approved")


@pytest.mark.slow
def test_the_screen_passes_the_accessibility_rules_in_every_look(look: Page, site: Site) -> None:
    """A flagged draft with an open input and guidelines, its dialog, a restored edit, and a correction."""
    add_correction(site.settings, site.ledger, "ward-a", **CORRECTED)
    rows = drafts_of(site.settings)
    open_item(look, site)
    for summary in look.locator(".work summary").all():
        summary.click()
    check(look, "flagged draft")
    look.keyboard.press("a")
    look.locator("#approve-dialog[open]").wait_for()
    check(look, "flags to acknowledge")
    look.keyboard.press("Escape")
    look.keyboard.press("e")
    with look.expect_response("**/diff"):
        look.locator("#output").fill(FLAGGED)
    look.goto(look.url)
    look.locator(".restored").wait_for()
    check(look, "restored edit")
    row = next(row for row in rows if row["source"] == "correction")
    look.goto(f"{site.url}/items/{row['example_id']}")
    check(look, "correction")
