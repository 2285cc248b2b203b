"""End to end through the desk: a draft and a correction, in a real browser, between real runs of the graph."""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Browser, Page, expect

from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.definitions import defs
from fine_tune_assets.defs.local_run import materialize_stale
from fine_tune_assets.ledger.reviews.decision_records import list_decisions
from fine_tune_assets_tests.changed_settings import changed
from fine_tune_assets_tests.conftest import SAMPLE, drop_dialogues, write_recipe
from fine_tune_assets_tests.defs.ingest_selection import INGEST
from fine_tune_assets_tests.desk.conftest import Site, acknowledge_flags, correct_on, sign_in_at
from fine_tune_assets_tests.desk.scripted_engine import Speaker, asking

pytestmark = pytest.mark.slow  # the scrubber's process loads its models
STAGES = INGEST | {"model_drafts"}
WAITS = "2026-04-dialogues"
"""A batch of the sample from a source that no recipe trusts: its drafts wait for reviewers."""
REPAIRED = "Watery diarrhoea for three days."
CORRECTED = "A cough."
SETTLED = "Three days of watery diarrhoea."


def rows_of(data: Path, asset: str) -> list[dict[str, Any]]:
    return list(pq.read_table(data / "tables" / asset / f"{asset}.parquet").to_pylist())


@pytest.fixture
def drafted(installation_dir: Path, instance: dg.DagsterInstance) -> Path:
    """An installation with drafts that wait, made by the graph from the sample; two reviewers decide on each."""
    write_recipe(installation_dir, review={"reviewers": 2})
    drop_dialogues(installation_dir, "2026-02", 0, 24)
    folder = shutil.copytree(SAMPLE / "raw_reports" / WAITS, installation_dir / "raw_reports" / f"{WAITS}.partial")
    folder.rename(installation_dir / "raw_reports" / WAITS)
    run_the_graph(instance)
    return installation_dir


@pytest.fixture
def running(drafted: Path, tmp_path: Path) -> Iterator[tuple[Settings, Speaker]]:
    with asking(changed(load_settings(), data_dir=drafted), tmp_path / "e.sock") as found:
        yield found


@pytest.fixture
def speaker(running: tuple[Settings, Speaker]) -> Speaker:
    return running[1]


@pytest.fixture
def site(drafted: Path, running: tuple[Settings, Speaker], serve: Callable[..., Site]) -> Site:
    settings = running[0]
    made = serve(data_dir=drafted, recipe=settings.recipe, gateway={"port": settings.gateway.port})
    made.add("Asker", "user", "reviewer")
    made.add("Reviewer One", "reviewer")
    made.add("Reviewer Two", "reviewer")
    made.add("Adjudicator", "approver")
    return made


def run_the_graph(instance: dg.DagsterInstance) -> None:
    """Run the graph in a separate thread: both the browser library and the graph need their own asyncio loop."""
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(materialize_stale, defs, instance, only=STAGES).result().failed == []


def sign_and_repair(page: Page, text: str) -> None:
    page.wait_for_url("**/items/*")
    page.keyboard.press("e")
    page.locator("#output").fill(text)
    expect(page.locator("#diff ins").first).to_be_visible()
    page.keyboard.press("Control+Enter")
    acknowledge_flags(page)
    page.get_by_role("button", name="Sign and approve as repaired").click()
    page.wait_for_url("**notice=approved")


def test_two_reviewers_disagree_a_third_settles_it_and_it_is_trained_on(
    drafted: Path, instance: dg.DagsterInstance, site: Site, browser: Browser, speaker: Speaker
) -> None:
    """A user corrects an answer meanwhile, which others review.

    A draft waits, one edits and approves, a second one rejects, an adjudicator settles: exactly that text arrives."""
    waiting = next(row for row in rows_of(drafted, "drafted_examples") if row["report_id"].startswith(f"{WAITS}/"))
    example_id = waiting["example_id"]
    assert example_id not in {row["example_id"] for row in rows_of(drafted, "instruction_sets")}

    pages = {name: browser.new_context().new_page() for name in ("Reviewer One", "Reviewer Two", "Adjudicator")}
    for name, page in pages.items():
        sign_in_at(page, site, name)
    one, two, third = pages.values()

    one.goto(f"{site.url}/queue?source=mts-dialog-test")
    one.locator(f"main a[href*='/items/{example_id}']").first.click()
    sign_and_repair(one, REPAIRED)

    two.goto(f"{site.url}/items/{example_id}")
    expect(two.get_by_text("The first review is hidden")).to_be_visible()
    expect(two.locator("main")).not_to_contain_text(REPAIRED)
    sign_and_repair(two, SETTLED)

    third.goto(f"{site.url}/disagreements")
    third.locator(f"main a[href*='/disagreements/{example_id}']").first.click()
    third.get_by_label("Output of Reviewer Two").check()
    third.get_by_role("button", name="Sign and adjudicate").click()
    third.wait_for_url("**notice=adjudicated")

    asker = ask_and_correct(browser, site, speaker)
    run_the_graph(instance)
    the_correction_is_reviewed_by_others(drafted, asker, one, site)
    approved = next(row for row in rows_of(drafted, "approved_examples") if row["example_id"] == example_id)
    assert (approved["output"], approved["approved_by"]) == (SETTLED, "Reviewer Two, Adjudicator")
    arrived = next(row for row in rows_of(drafted, "instruction_sets") if row["example_id"] == example_id)
    assert arrived["messages"][-1]["content"] == SETTLED

    third.goto(f"{site.url}/items/{example_id}/history")
    way = third.locator("main")
    for word in (
        "mts-dialog-test",
        "Reviewer One",
        "Reviewer Two",
        "Adjudicator",
        "I read both decisions",
        arrived["split"],
    ):
        expect(way).to_contain_text(word, ignore_case=True)
    for page in (asker, *pages.values()):
        page.context.close()


def ask_and_correct(browser: Browser, site: Site, speaker: Speaker) -> Page:
    """Sign in, ask, wait for the answer and its release, and correct it."""
    page = browser.new_context().new_page()
    speaker.may_end.clear()
    sign_in_at(page, site, "Asker")
    page.get_by_role("link", name="Ask", exact=True).first.click()
    page.get_by_label("Question, or input of the task").fill("Name the complaint of a coughing person.")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator(".exchange .said")).to_have_text("A cough,")
    speaker.may_end.set()
    expect(page.locator(".exchange .id").first).to_have_text(speaker.release_id)
    correct_on(page, CORRECTED, "hallucination")
    return page


def the_correction_is_reviewed_by_others(data: Path, asker: Page, one: Page, site: Site) -> None:
    """The scrubbed correction is in the queue; its author can't decide on it, another reviewer can."""
    draft = next(row for row in rows_of(data, "drafted_examples") if row["source"] == "correction")
    assert (draft["output"], draft["input"]) == (CORRECTED, "")
    asker.goto(f"{site.url}/items/{draft['example_id']}")
    expect(asker.get_by_role("button", name="Approve", exact=False)).to_have_count(0)
    one.goto(f"{site.url}/queue?source=correction")
    one.locator(f"main a[href*='/items/{draft['example_id']}']").first.click()
    one.wait_for_url("**/items/*")
    one.keyboard.press("a")
    acknowledge_flags(one)
    one.get_by_role("button", name="Sign and approve", exact=True).click()
    one.wait_for_url("**notice=approved")
    decisions = [d for d in list_decisions(site.ledger) if d.example_id == draft["example_id"]]
    assert [(d.reviewer, d.decision) for d in decisions] == [("Reviewer One", "approve")]
