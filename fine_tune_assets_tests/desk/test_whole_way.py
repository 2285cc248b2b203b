"""The whole way of a draft through the desk, in a real browser and with the real graph on both sides of it."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Browser, Page, expect

from fine_tune_assets.core.settings import load_settings
from fine_tune_assets.definitions import defs
from fine_tune_assets.defs.local_run import materialize_stale
from fine_tune_assets_tests.conftest import SAMPLE, drop_dialogues, write_recipe
from fine_tune_assets_tests.defs.test_ingest_flow import INGEST
from fine_tune_assets_tests.desk.conftest import Site, sign_in_at

pytestmark = pytest.mark.slow  # the scrubber's process loads its models
STAGES = INGEST | {"model_drafts"}
WAITS = "2026-04-primary-care"
"""A batch of the sample from a source that no recipe trusts: its drafts wait for reviewers."""
REPAIRED = "Watery diarrhoea for three days."
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
def site(drafted: Path, serve: Callable[..., Site]) -> Site:
    settings = load_settings()
    made = serve(data_dir=drafted, recipe=settings.recipe)
    made.add("Reviewer One", "reviewer")
    made.add("Reviewer Two", "reviewer")
    made.add("Adjudicator", "approver")
    return made


def run_the_graph(instance: dg.DagsterInstance) -> None:
    """In a thread of its own: the browser's library runs a loop of asyncio's in this one, and so does a run of the graph."""
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(materialize_stale, defs, instance, only=STAGES).result().failed == []


def sign_and_repair(page: Page, text: str) -> None:
    page.wait_for_url("**/items/*")
    page.keyboard.press("e")
    page.locator("#output").fill(text)
    expect(page.locator("#diff ins").first).to_be_visible()
    page.keyboard.press("Control+Enter")
    page.get_by_role("button", name="Sign and approve as repaired").click()
    page.wait_for_url("**said=approved")


def test_two_reviewers_disagree_a_third_settles_it_and_it_is_trained_on(
    drafted: Path, instance: dg.DagsterInstance, site: Site, browser: Browser
) -> None:
    """A draft waits, one edits and approves, a second one rejects, an adjudicator settles: exactly that text arrives."""
    waiting = next(row for row in rows_of(drafted, "drafted_examples") if row["report_id"].startswith(f"{WAITS}/"))
    example_id = waiting["example_id"]
    assert example_id not in {row["example_id"] for row in rows_of(drafted, "instruction_sets")}

    pages = {name: browser.new_context().new_page() for name in ("Reviewer One", "Reviewer Two", "Adjudicator")}
    for name, page in pages.items():
        sign_in_at(page, site, name)
    one, two, third = pages.values()

    one.goto(f"{site.url}/queue?source=primock57")
    one.get_by_role("link", name=example_id).click()
    sign_and_repair(one, REPAIRED)

    two.goto(f"{site.url}/items/{example_id}")
    expect(two.get_by_text("the first one is not shown")).to_be_visible()
    expect(two.locator("main")).not_to_contain_text(REPAIRED)
    sign_and_repair(two, SETTLED)

    third.goto(f"{site.url}/disagreements")
    third.get_by_role("link", name=example_id).click()
    third.get_by_label("the output of Reviewer Two").check()
    third.get_by_role("button", name="Sign and settle").click()
    third.wait_for_url("**said=settled")

    run_the_graph(instance)
    approved = next(row for row in rows_of(drafted, "approved_examples") if row["example_id"] == example_id)
    assert (approved["output"], approved["approved_by"]) == (SETTLED, "Reviewer Two, Adjudicator")
    arrived = next(row for row in rows_of(drafted, "instruction_sets") if row["example_id"] == example_id)
    assert arrived["messages"][-1]["content"] == SETTLED

    third.goto(f"{site.url}/items/{example_id}/history")
    way = third.locator("main")
    for word in ("primock57", "Reviewer One", "Reviewer Two", "Adjudicator", "I read both decisions", arrived["split"]):
        expect(way).to_contain_text(word)
    for page in pages.values():
        page.context.close()
