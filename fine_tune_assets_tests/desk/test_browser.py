"""The desk in a real Chromium: accessible in both themes and widths, usable by keyboard, without third-party requests."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Browser, Page, TimeoutError, expect

from fine_tune_assets.ledger.ledger_tables import sessions
from fine_tune_assets.ledger.people.users import find_user
from fine_tune_assets.ledger.reviews.decision_records import list_decisions
from fine_tune_assets.ledger.reviews.identifier_marks import list_marks
from fine_tune_assets_tests.desk.accessibility import check, look
from fine_tune_assets_tests.desk.conftest import Site, acknowledge_flags, keep_no_edits, sign_in_at
from fine_tune_assets_tests.desk.installation import MISSED, drafts_of

__all__ = ["look"]


@pytest.fixture
def site(ward: Callable[..., Site]) -> Site:
    made = ward(reviewers=2)
    for name, *roles in (
        ("Reviewer One", "reviewer"),
        ("Reviewer Two", "reviewer"),
        ("All Roles", "ingest", "reviewer", "approver", "operator", "auditor"),
    ):
        made.add(name, *roles)
    return made


def _press_until_open(look: Page, key: str, dialog: str) -> None:
    """Press a key until its dialog opens: a key pressed while the previous dialog closes is lost."""
    for _ in range(3):
        look.keyboard.press(key)
        try:
            look.locator(dialog).wait_for(timeout=5000)
        except TimeoutError:
            continue
        return
    raise AssertionError(f"{key} does not open {dialog}")


@pytest.mark.slow
def test_every_page_and_dialog_passes_the_accessibility_rules_in_every_look(look: Page, site: Site) -> None:
    """Both widths, both themes, and rare states: empty, refused, claimed, removed."""
    first, second, third = drafts_of(site.settings)[:3]
    one, two = site.signed_in("Reviewer One"), site.signed_in("Reviewer Two")
    one.approve(first, "Cough and fever for two days.")
    two.reject(first)
    one.get(f"/items/{third['example_id']}")
    look.goto(f"{site.url}/sign-in")
    check(look, "sign-in")
    look.get_by_label("Name").fill("Reviewer One")
    look.get_by_label("Password").fill("wrong")
    look.get_by_role("button", name="Sign in", exact=True).click()
    look.get_by_role("alert").wait_for()
    check(look, "refused sign-in")
    sign_in_at(look, site, "All Roles")
    item = f"/items/{second['example_id']}"
    for path in (
        "/", "/account", "/queue", "/queue?task=none", "/decisions", "/disagreements", "/agreement", "/subjects", "/users",
        "/intake",
        "/audit?verify=1",
        "/nothing", f"/disagreements/{first['example_id']}", f"/items/{first['example_id']}/history",
        f"/items/{first['example_id']}", f"/items/{third['example_id']}", item,
    ):  # fmt: skip
        look.goto(site.url + path)
        check(look, path)
    for key, dialog in (("a", "approve"), ("r", "reject"), ("p", "mark"), ("?", "help")):
        _press_until_open(look, key, f"#{dialog}-dialog[open]")
        check(look, f"{dialog} dialog")
        look.keyboard.press("Escape")
        expect(look.locator("dialog[open]")).to_have_count(0)
    look.keyboard.press("e")
    look.locator("#output").fill("Something else entirely.")
    look.locator("#diff ins").first.wait_for()
    check(look, "editing")
    look.keyboard.press("Control+Enter")
    look.get_by_role("button", name="Sign and approve as repaired").wait_for()
    check(look, "signing a repair")
    look.keyboard.press("Escape")
    keep_no_edits(look)
    look.locator("#output").fill("Something that is not kept.")
    look.keyboard.press("Escape")
    look.keyboard.press("s")
    look.locator("#leave-dialog[open]").wait_for()
    check(look, "leaving")


def test_a_reviewer_works_by_keys_alone(page: Page, site: Site) -> None:
    """From the list to a signed repair and on to the next item, without touching the mouse."""
    first, second = drafts_of(site.settings)[:2]
    sign_in_at(page, site, "Reviewer One")
    page.goto(f"{site.url}/queue")
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/items/{first['example_id']}")
    page.keyboard.press("e")
    expect(page.locator("#output")).to_be_focused()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("sneezing and a really raw area, per patient?")
    expect(page.locator("dialog[open]")).to_have_count(0)
    expect(page.locator("#diff ins").first).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#editing")).to_be_hidden()
    page.keyboard.press("a")
    expect(page.locator("#approve-dialog")).to_be_visible()
    expect(page.locator("#approve-dialog")).to_contain_text("as I repaired it")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/items/{second['example_id']}?notice=approved")
    page.keyboard.press("r")
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    page.wait_for_url("**notice=rejected")
    page.keyboard.press("s")
    page.wait_for_url("**notice=skipped")
    made = list_decisions(site.ledger)
    assert [(d.decision, d.output) for d in made] == [
        ("approve", "sneezing and a really raw area, per patient?"), ("reject", None),
    ]  # fmt: skip


def test_what_is_selected_is_marked_and_the_item_leaves_the_queue(page: Page, site: Site) -> None:
    """ "I see PHI here" on the words themselves, in the input and in the report alike."""
    marked = next(draft for draft in drafts_of(site.settings) if MISSED in draft["input"])
    sign_in_at(page, site, "Reviewer One")
    page.goto(f"{site.url}/items/{marked['example_id']}")
    page.evaluate(
        """word => {
            for (const box of [...document.querySelectorAll('[data-markable]')].filter((box) => box.checkVisibility())) {
                const walker = document.createTreeWalker(box, NodeFilter.SHOW_TEXT);
                for (let node; (node = walker.nextNode());) {
                    const at = node.data.indexOf(word);
                    if (at >= 0) { getSelection().setBaseAndExtent(node, at, node, at + word.length); return; }
                }
            }
        }""",
        MISSED,
    )
    page.get_by_role("button", name="I see PHI here").click()
    expect(page.locator("#mark-term")).to_have_value(MISSED)
    page.get_by_label("Kind of identifier").select_option("NAME")
    page.get_by_role("button", name="Mark and withhold").click()
    page.wait_for_url("**notice=marked")
    expect(page.locator(".said")).to_contain_text("withheld")
    assert [mark.kind for mark in list_marks(site.ledger)] == ["NAME"]
    page.goto(f"{site.url}/queue")
    expect(page.locator("table")).not_to_contain_text(marked["example_id"])


def test_an_expired_session_loses_no_text(page: Page, site: Site) -> None:
    """The page reports the end of the session; after signing in in another tab, the text can be sent again."""
    first = drafts_of(site.settings)[0]
    sign_in_at(page, site, "Reviewer One")
    page.goto(f"{site.url}/items/{first['example_id']}")
    page.keyboard.press("e")
    with site.ledger.begin() as connection:
        connection.execute(sessions.update().values(expires_at=datetime.now(UTC) - timedelta(minutes=1)))
    page.locator("#output").fill("What was typed for half an hour.")
    expect(page.locator("#notice")).to_contain_text("session has ended")
    page.keyboard.press("Escape")
    page.keyboard.press("a")
    expect(page.get_by_role("button", name="Open again with my text")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Your session has ended")).to_be_visible()
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Sign in in another tab").click()
    sign_in_at(opened.value, site, "Reviewer One")
    page.get_by_role("button", name="Send again").click()
    expect(page.get_by_role("heading", name="Confirm your form")).to_be_visible()
    page.get_by_role("button", name="Send again").click()
    expect(page.locator("#output")).to_have_value("What was typed for half an hour.")
    page.keyboard.press("Control+Enter")
    acknowledge_flags(page)
    page.get_by_role("button", name="Sign and approve as repaired").click()
    page.wait_for_url("**notice=approved")
    assert list_decisions(site.ledger)[0].output == "What was typed for half an hour."


def test_the_dialog_shows_the_text_to_sign(page: Page, site: Site) -> None:
    """The dialog shows the text as it will be recorded and its fingerprint; "Restore the draft" brings the draft back."""
    first = drafts_of(site.settings)[0]
    sign_in_at(page, site, "Reviewer One")
    page.goto(f"{site.url}/items/{first['example_id']}")
    shown = page.locator("#approve-dialog .tosign")
    page.keyboard.press("a")
    expect(shown).to_have_text(first["output"])
    expect(page.locator("#approve-dialog")).to_contain_text(first["fingerprint"][:16])
    page.keyboard.press("Escape")
    page.keyboard.press("e")
    page.locator("#output").fill("  Cough\nsince Monday. ")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("button", name="Sign and approve as repaired")).to_be_visible()
    assert shown.inner_text() == "Cough\nsince Monday."
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Restore the draft").click()
    page.keyboard.press("Control+Enter")
    expect(page.locator("#approve-dialog").get_by_role("checkbox").first).to_be_focused()
    expect(shown).to_have_text(first["output"])
    acknowledge_flags(page)
    page.keyboard.press("Enter")
    page.wait_for_url("**notice=approved")
    assert list_decisions(site.ledger)[0].output is None


def test_the_dialog_shows_the_flags_of_the_text_to_sign(page: Page, site: Site) -> None:
    """The dialog covers the page, so a flag that is only on the page is not read before signing."""
    first = drafts_of(site.settings)[0]
    sign_in_at(page, site, "Reviewer One")
    page.goto(f"{site.url}/items/{first['example_id']}")
    flags = page.locator("#approve-dialog .flaglist li")
    page.keyboard.press("a")
    expect(flags).to_have_text([re.compile(re.escape(flag.partition(": ")[2])) for flag in first["flags"]])
    page.keyboard.press("Escape")
    page.keyboard.press("e")
    page.locator("#output").fill("Cough for 77 days.")
    page.keyboard.press("Control+Enter")
    expect(flags.filter(has_text="77 days")).to_be_visible()
    page.keyboard.press("Escape")
    page.locator("#output").fill("Cough.")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#approve-dialog .tosign")).to_have_text("Cough.")
    expect(flags).to_have_count(0)


@pytest.mark.parametrize("way", ["s", "n", "link", "sign out"])
def test_leaving_a_changed_text_asks_for_confirmation(page: Page, site: Site, way: str) -> None:
    """A text that the server could not keep, by keyboard. The browser stores no text: others may use the same machine."""
    first = drafts_of(site.settings)[0]
    sign_in_at(page, site, "Reviewer One")
    keep_no_edits(page)
    page.goto(f"{site.url}/items/{first['example_id']}")
    page.keyboard.press("e")
    page.locator("#output").fill("What was typed for half an hour.")
    page.keyboard.press("Escape")

    def leave() -> None:
        if way in ("s", "n"):
            page.keyboard.press(way)
        elif way == "link":
            page.get_by_role("link", name="History").click()
        else:
            page.get_by_role("button", name="Sign out").click()

    leave()
    expect(page.get_by_role("dialog", name="You have changed the text")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.locator("dialog[open]")).to_have_count(0)
    assert page.url.endswith(first["example_id"])
    expect(page.locator("#output")).to_have_value("What was typed for half an hour.")
    leave()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: not url.endswith(first["example_id"]))
    assert "typed" not in page.evaluate("JSON.stringify([sessionStorage, localStorage])")


def test_leaving_an_unchanged_item_needs_no_confirmation_and_closing_a_changed_tab_warns(
    page: Page, site: Site
) -> None:
    """Users dismiss a confirmation that always appears."""
    first = drafts_of(site.settings)[0]
    sign_in_at(page, site, "Reviewer One")
    page.goto(f"{site.url}/items/{first['example_id']}")
    page.keyboard.press("n")
    page.wait_for_url(lambda url: not url.endswith(first["example_id"]))
    keep_no_edits(page)
    page.goto(f"{site.url}/items/{first['example_id']}")
    page.keyboard.press("e")
    page.keyboard.type("Typed. ")
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    page.reload()
    assert asked == ["beforeunload"]


def test_ending_another_users_sessions_asks_for_confirmation(page: Page, site: Site) -> None:
    """The buttons of different users are close together."""
    sign_in_at(page, site, "All Roles")
    page.goto(f"{site.url}/users")
    for answer, is_enabled in (("Cancel", True), ("Confirm", False)):
        page.get_by_role("button", name="Disable Reviewer Two").click()
        expect(page.get_by_role("dialog", name="Disable Reviewer Two?")).to_be_visible()
        page.get_by_role("button", name=answer).click()
        if not is_enabled:
            expect(page.get_by_role("status").first).to_contain_text("Reviewer Two was disabled")
        assert find_user(site.ledger, "Reviewer Two").is_enabled == is_enabled


def test_an_identifier_is_marked_by_keys_alone(page: Page, site: Site) -> None:
    """Selecting text needs a mouse, so the identifier can be typed."""
    marked = next(draft for draft in drafts_of(site.settings) if MISSED in draft["input"])
    sign_in_at(page, site, "Reviewer One")
    page.goto(f"{site.url}/items/{marked['example_id']}")
    page.keyboard.press("p")
    expect(page.get_by_label("Identifier, exactly as in the report")).to_be_focused()
    page.keyboard.type(MISSED.upper())
    page.keyboard.press("Tab")
    page.keyboard.type("NAME")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**notice=marked")
    assert [mark.kind for mark in list_marks(site.ledger)] == ["NAME"]


@pytest.mark.parametrize("size", [(800, 480), (800, 900), (1280, 600)], ids=str)
def test_the_line_being_typed_is_above_the_buttons(browser: Browser, site: Site, size: tuple[int, int]) -> None:
    """The buttons are fixed to the lower edge of the window."""
    context = browser.new_context(viewport={"width": size[0], "height": size[1]})
    page = context.new_page()
    sign_in_at(page, site, "Reviewer One")
    page.goto(f"{site.url}/items/{drafts_of(site.settings)[0]['example_id']}")
    page.keyboard.press("e")
    page.keyboard.press("Control+End")
    for number in range(40):
        page.keyboard.type(f"line {number}")
        page.keyboard.press("Enter")
    expect(page.locator("#diff ins").first).to_be_attached()
    dock = page.locator(".dock").bounding_box()
    box = page.locator("#output").bounding_box()
    assert dock is not None
    assert box is not None
    assert box["y"] + box["height"] <= dock["y"] + 1
    assert page.evaluate("document.querySelector('.dock').offsetHeight") < size[1] / 3
    page.keyboard.press("Escape")
    page.evaluate("scrollTo({top: 1e6, behavior: 'instant'})")
    last = page.locator("main .pane").last.bounding_box()
    dock = page.locator(".dock").bounding_box()
    assert last is not None
    assert dock is not None
    assert last["y"] + last["height"] <= dock["y"]
    context.close()


def test_the_system_theme_applies_until_the_user_chooses_one(page: Page, site: Site) -> None:
    """The server renders the chosen theme, so the page does not flash."""
    page.emulate_media(color_scheme="dark")
    page.goto(f"{site.url}/sign-in")
    ground = "getComputedStyle(document.body.parentElement).backgroundColor"
    dark = page.evaluate(ground)
    page.get_by_role("button", name="Change between light and dark").click()
    light = page.evaluate(ground)
    assert light != dark
    page.reload()
    assert page.evaluate(ground) == light
    assert page.locator("html").get_attribute("data-theme") == "light"


def test_pages_make_no_third_party_requests_and_violate_no_policy(page: Page, site: Site) -> None:
    """The content security policy forbids CDNs and inline scripts."""
    hosts, complaints = set(), []
    page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    sign_in_at(page, site, "All Roles")
    first = drafts_of(site.settings)[0]["example_id"]
    for path in ("/", "/queue", f"/items/{first}", "/users", "/audit", "/account", "/agreement"):
        page.goto(site.url + path)
    page.keyboard.press("?")
    assert hosts == {site.url.removeprefix("http://")}
    assert complaints == []


def test_reduced_motion_and_focus_outlines_work(page: Page, site: Site) -> None:
    """The skip link gets the first focus, and nothing moves with reduced motion."""
    page.emulate_media(reduced_motion="reduce")
    sign_in_at(page, site, "Reviewer One")
    page.goto(f"{site.url}/queue")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert outline == "3px"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    assert page.evaluate("getComputedStyle(document.querySelector('.skip')).transitionDuration") in ("0s", "1e-05s")
