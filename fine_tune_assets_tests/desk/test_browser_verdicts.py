"""Spot checks and verdicts in a real Chromium: rating by keyboard, and signing after a confirmation."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from fine_tune_assets.ledger.reviews.spot_check_ratings import list_spot_checks
from fine_tune_assets.ledger.serving.verdicts import list_signers, record_verdict
from fine_tune_assets_tests.desk.accessibility import check, look
from fine_tune_assets_tests.desk.conftest import Site, sign_in_at
from fine_tune_assets_tests.desk.judged_drafts import judge_the_drafts
from fine_tune_assets_tests.desk.verdict_documents import DOCUMENT, FIGURE, NONE, evidence
from fine_tune_assets_tests.ledger.ledger_rows import make_verdict

__all__ = ["look"]
HOLD = make_verdict("hold", evidence=evidence(DOCUMENT), reasons=("Not enough evidence: 180 examples, 240 needed.",))
OLD = make_verdict("refuse", evidence=evidence({}), adapter_id="adapter-0", reasons=("Forgets copa.",))


@pytest.fixture
def site(ward: Callable[..., Site]) -> Site:
    made = ward()
    for name, *roles in (("Expert", "reviewer"), ("Chief", "approver"), ("Both", "reviewer", "approver")):
        made.add(name, *roles)
    judge_the_drafts(made.settings, made.ledger)
    for verdict in (OLD, HOLD):
        record_verdict(made.ledger, verdict)
    return made


def test_an_expert_rates_answers_by_keyboard(page: Page, site: Site) -> None:
    """Grade, most severe error, record; the next answer opens, and a skipped one returns."""
    sign_in_at(page, site, "Expert")
    page.goto(f"{site.url}/spot-checks")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/spot-checks/*")
    first = page.url.rpartition("/")[2]
    page.keyboard.press("7")
    expect(page.get_by_label("7", exact=True)).to_be_checked()
    page.keyboard.press("0")
    expect(page.get_by_label("10", exact=True)).to_be_checked()
    page.keyboard.press("x")
    page.keyboard.press("a")
    page.wait_for_url("**?notice=rated")
    second = page.url.rpartition("/")[2].partition("?")[0]
    page.keyboard.press("n")
    page.wait_for_url(lambda url: second not in url and "notice" not in url)
    page.keyboard.press("3")
    page.keyboard.press("h")
    page.keyboard.press("a")
    page.wait_for_url("**?notice=rated")
    made = list_spot_checks(site.ledger)
    assert [(c.answer_id == first, c.score, c.error_kind) for c in made] == [
        (True, 10, "none"), (False, 3, "hallucination"),
    ]  # fmt: skip
    assert second not in {c.answer_id for c in made}


def test_a_rating_without_a_grade_is_not_sent(page: Page, site: Site) -> None:
    """The browser points to the missing field before the server refuses."""
    sign_in_at(page, site, "Expert")
    page.goto(f"{site.url}/spot-checks/next")
    page.keyboard.press("o")
    page.keyboard.press("a")
    expect(page.locator("input[name=score]").first).to_be_focused()
    assert list_spot_checks(site.ledger) == []


def test_signing_a_hold_asks_for_confirmation(page: Page, site: Site) -> None:
    """A signature can't be revoked, so one accidental click must not sign."""
    sign_in_at(page, site, "Chief")
    page.goto(f"{site.url}/verdicts/{HOLD.verdict_id}")
    expect(page.get_by_role("img", name="Grades of the candidate and of the incumbent")).to_be_visible()
    page.get_by_label("Reason to release it").fill("Read by hand.")
    page.get_by_role("button", name="Sign this hold").click()
    dialog = page.get_by_role("dialog", name="Sign this hold with your name?")
    expect(dialog).to_be_visible()
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    assert list_signers(site.ledger, HOLD.verdict_id) == []
    page.get_by_role("button", name="Sign this hold").click()
    page.get_by_role("button", name="Confirm").click()
    page.wait_for_url("**?notice=signed")
    expect(page.get_by_role("region", name="Signatures")).to_contain_text("Read by hand.")
    assert list_signers(site.ledger, HOLD.verdict_id) == ["Chief"]


@pytest.mark.parametrize("width", [1440, 390])
def test_the_reason_of_a_figure_is_readable_without_scrolling(page: Page, site: Site, width: int) -> None:
    """Beside eight columns it wrapped at one word a line, and the card cut off its end."""
    reason = "0 of 4 canaries that are read 16 times an epoch came back word for word; mean exposure 9.1 bits."
    figure = FIGURE | NONE | {"family": "safety", "name": "canaries_16", "outcome": "unknown", "reason": reason}
    verdict = make_verdict("hold", evidence=evidence({**DOCUMENT, "metrics": [figure]}), adapter_id="adapter-9")
    record_verdict(site.ledger, verdict)
    page.set_viewport_size({"width": width, "height": 900})
    sign_in_at(page, site, "Chief")
    page.goto(f"{site.url}/verdicts/{verdict.verdict_id}")
    region = page.get_by_role("region", name="Safety")
    shown, card = page.get_by_text(reason).bounding_box(), region.bounding_box()
    assert shown is not None
    assert card is not None
    assert card["x"] <= shown["x"] < shown["x"] + shown["width"] <= card["x"] + card["width"]
    assert shown["width"] >= 0.5 * min(card["width"], 600)
    if width == 1440:
        assert region.evaluate("table => table.scrollWidth <= table.clientWidth"), "every column is visible"


@pytest.mark.slow
def test_these_pages_pass_the_accessibility_rules_in_every_look(look: Page, site: Site) -> None:
    """Both widths, both themes: lists, a rating and its keys, verdicts of both forms, and the question before signing."""
    errors: list[str] = []
    look.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    sign_in_at(look, site, "Both")
    for path in ("/spot-checks", "/spot-checks/next", "/agreement", "/verdicts", f"/verdicts/{OLD.verdict_id}"):
        look.goto(site.url + path)
        check(look, path)
    look.goto(f"{site.url}/spot-checks/next")
    look.keyboard.press("?")
    look.locator("#help-dialog[open]").wait_for()
    check(look, "keys of a spot check")
    look.goto(f"{site.url}/verdicts/{HOLD.verdict_id}")
    for summary in look.locator("summary").all():
        summary.click()
    check(look, "verdict")
    look.get_by_label("Reason to release it").fill("Read by hand.")
    look.get_by_role("button", name="Sign this hold").click()
    look.locator("#ask-dialog[open]").wait_for()
    check(look, "before signing")
    assert errors == [], "The content policy refuses nothing that these pages need."
