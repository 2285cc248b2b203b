"""The home page: the pipeline, tasks, alerts, running steps, the production model and a question box; per role."""

import re
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from fine_tune_assets.core.dagster_ui import DEFINITIONS
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.progress import RunningStep, progress_writer, publish_step
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.core.shared_records import Verdict
from fine_tune_assets.core.shipped_release import find_shipped_release
from fine_tune_assets.desk.model_summary import explain_block, find_origin, read_model_summary
from fine_tune_assets.desk.pipeline import TableCounts, build_pipeline, read_facts
from fine_tune_assets.engines.running_server import free_port
from fine_tune_assets.ledger.database import open_ledger
from fine_tune_assets.ledger.ledger_tables import sessions
from fine_tune_assets.ledger.people.users import FIRST_USER
from fine_tune_assets.ledger.serving.imported_releases import make_import
from fine_tune_assets.ledger.serving.release_records import import_transaction, record_release
from fine_tune_assets.ledger.serving.verdicts import record_verdict, sign_hold
from fine_tune_assets.tables.correction_rows import ProductionDrift
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets.tables.scrubbing_rows import WithheldReport
from fine_tune_assets.tables.training_rows import ExampleLength
from fine_tune_assets_tests.changed_settings import changed
from fine_tune_assets_tests.desk.accessibility import check, look
from fine_tune_assets_tests.desk.conftest import Site, sign_in_at, start_desk
from fine_tune_assets_tests.desk.dagster_ui.scripted_webserver import scripted_webserver
from fine_tune_assets_tests.desk.installation import BATCH, SOURCE, drafts_of, fill, scrub_again
from fine_tune_assets_tests.desk.scripted_engine import asking
from fine_tune_assets_tests.desk.verdict_documents import DOCUMENT, evidence
from fine_tune_assets_tests.ledger.ledger_rows import make_release, make_verdict
from fine_tune_assets_tests.serving.tiny_releases import build_empty_release, make_ready, switched

__all__ = ["look"]
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
STEP = RunningStep("s06_adapters", ("adapters",), None, started_at=0.0)


def record_hold(site: Site) -> Verdict:
    verdict = make_verdict(
        "hold", evidence=evidence(DOCUMENT), reasons=("It may have lost arithmetic.",), adapter_id="new"
    )
    record_verdict(site.ledger, verdict)
    return verdict


WITHHELD = "2 reports: withheld, because residual PHI was found"


def withhold(settings: Settings) -> None:
    """Two reports of the ward's batch."""
    rows = [
        {"report_id": f"{BATCH}/{number}", "batch": BATCH, "kind": "NAME", "count": 1, "scrubber_version": "s"}
        for number in ("00001", "00002", "00002")
    ]
    table = table_from_rows(rows, WithheldReport.SCHEMA)
    write_table(settings.layout.table("withheld_reports", BATCH), table)


def test_every_step_is_there_with_what_it_made(ward: Callable[..., Site]) -> None:
    """Six notes that were read and scrubbed, and a draft of each that waits; nothing else was made yet."""
    site = ward(count=6)
    layout = site.settings.layout
    facts = read_facts(layout, site.ledger, TableCounts(layout), None, time.time())
    steps = build_pipeline(facts, read_model_summary(site.ledger), ["operator"], NOW)
    assert {step.name: step.figure for step in steps if step.figure} == {
        "reports": "6", "scrubbed": "6", "examples": "0",
    }  # fmt: skip
    assert {step.name: step.note for step in steps if step.note} == {"examples": "6 to review"}


def test_counts_follow_a_file_that_is_replaced(settings: Settings) -> None:
    ledger = open_ledger(settings)
    filled = fill(settings, ledger, count=3)
    counts = TableCounts(filled.layout)

    def count() -> int | None:
        table = counts.find_table("scrubbed_reports")
        return None if table is None else table.rows

    assert count() == 3
    fill(settings, ledger, count=5)
    assert count() == 5
    scrub_again(filled, ledger, "nothing")
    assert count() == 5
    assert counts.find_table("adapters") is None
    ledger.close()


def test_the_production_model_names_its_release_its_origin_and_its_verdict(site: Site) -> None:
    release_id = build_empty_release(site.settings, site.ledger, "You are brief.", {})
    assert read_model_summary(site.ledger).production is None
    switched(site.ledger, release_id)
    production = read_model_summary(site.ledger).production
    assert production is not None
    assert (production.release_id, production.origin, production.is_engine_running) == (release_id, "local", True)
    assert production.verdict is not None
    assert production.verdict.decision == "promote"


def test_the_shipped_release_is_ones_own_once_it_was_made_here(site: Site) -> None:
    """The demo's recipe gives the same bits on many machines: the answer is then the user's own work."""
    shipped = find_shipped_release()
    assert shipped is not None
    verdict = make_verdict("promote", evidence=evidence(DOCUMENT))
    made = make_import(shipped.release_id, "k" * 64, verdict, (), "An Operator")
    release = make_release(verdict, shipped.release_id)
    with import_transaction(site.ledger, release, made):
        pass
    assert find_origin(site.ledger, shipped.release_id) == "shipped"
    record_verdict(site.ledger, verdict)
    record_release(site.ledger, release)
    assert find_origin(site.ledger, shipped.release_id) == "local"


def test_an_imported_release_says_so_and_shows_the_verdict_that_came_with_it(site: Site) -> None:
    """The page and the terminal say which of the two answers: the user's own, or one from elsewhere."""
    verdict = make_verdict("promote", evidence=evidence(DOCUMENT))
    made = make_import("r1", "k" * 64, verdict, (), "An Operator")
    with import_transaction(site.ledger, make_release(verdict, "r1"), made):
        pass
    switched(site.ledger, "r1")
    production = read_model_summary(site.ledger).production
    assert production is not None
    assert production.origin == "imported"
    assert production.verdict is not None
    assert (production.verdict.verdict_id, production.verdict.is_intact) == (verdict.verdict_id, True)
    assert production.verdict.target_metric is not None
    site.add("Operator", "operator")
    shown = site.signed_in("Operator").get("/").text
    assert "Promote" in shown
    assert f"/verdicts/{verdict.verdict_id}" not in shown  # its page is at the installation that judged it


def test_a_hold_shows_its_reason_the_next_step_and_the_unchanged_release(site: Site) -> None:
    """The page says what to do about a hold."""
    switched(site.ledger, build_empty_release(site.settings, site.ledger, "You are brief.", {}))
    verdict = record_hold(site)
    site.add("Operator", "operator")
    shown = unescape(site.signed_in("Operator").get("/").text)
    assert "It may have lost arithmetic." in shown
    assert f"/verdicts/{verdict.verdict_id}" in shown


def test_a_signed_hold_and_a_promotion_stop_nothing(site: Site) -> None:
    verdict = record_hold(site)
    stopped = read_model_summary(site.ledger).blocking_verdict
    assert stopped is not None
    assert stopped.is_intact
    assert "sign" in explain_block(stopped, site.ledger)
    sign_hold(site.ledger, verdict.verdict_id, "Chief", "Read fifty answers.")
    assert read_model_summary(site.ledger).blocking_verdict is None
    record_verdict(site.ledger, make_verdict("promote"))
    assert read_model_summary(site.ledger).blocking_verdict is None


def test_a_candidate_in_flight_is_shown_beside_the_model_that_answers(site: Site) -> None:
    release_id = build_empty_release(site.settings, site.ledger, "You are brief.", {})
    make_ready(site.ledger, release_id, upto="requested")
    candidate = read_model_summary(site.ledger).candidate
    assert candidate is not None
    assert (candidate.release_id, candidate.state) == (release_id, "requested")


@pytest.mark.parametrize(
    ("role", "sees"),
    [
        ("user", {"ask", "model"}),
        ("ingest", {"pipeline", "tasks"}),
        ("reviewer", {"ask", "model", "pipeline", "tasks"}),
        ("approver", {"ask", "model", "pipeline", "tasks", "verdict", "graph", "failures", "answers"}),
        ("operator", {"model", "pipeline", "tasks", "verdict", "graph", "failures"}),
        ("auditor", {"model", "pipeline", "tasks", "verdict", "graph", "failures"}),
    ],
)
def test_a_role_sees_only_its_parts(serve: Callable[..., Site], role: str, sees: set[str]) -> None:
    """A reviewer rates answers blindly, so no figure of a model is on their page."""
    site = serve()
    switched(site.ledger, build_empty_release(site.settings, site.ledger, "You are brief.", {}))
    record_hold(site)
    site.add("Some One", role)
    visitor = site.signed_in("Some One")
    parts = {
        "ask": 'id="question"', "model": "model-title", "pipeline": "pipeline-title", "tasks": "tasks-title",
        "verdict": "/verdicts/", "graph": 'id="graph"', "failures": "/failures", "answers": "/graded-answers",
    }  # fmt: skip
    home, part = visitor.get("/").text, visitor.get("/overview").text
    assert {name for name, mark in parts.items() if mark in home} == sees
    assert {name for name, mark in parts.items() if mark in part} == sees - {"ask", "graph", "failures", "answers"}
    assert ("lost arithmetic" in home) == ("verdict" in sees)


def test_a_reviewer_sees_how_many_drafts_wait_for_them(ward: Callable[..., Site]) -> None:
    site = ward(count=6)
    site.add("Someone", "reviewer")
    visitor = site.signed_in("Someone")
    assert "6 drafts to review" in visitor.get("/").text
    visitor.approve(drafts_of(site.settings)[0])
    assert "5 drafts to review" in visitor.get("/").text


def too_long(settings: Settings) -> None:
    """One of two examples does not fit; 412 tokens would keep it."""
    rows = [
        {"example_id": f"e{tokens}", "split": "train", "tokens": tokens, "supervised_tokens": 1, "fits": tokens < 140}
        for tokens in (90, 412)
    ]
    filled = [{name: row.get(name) for name in ExampleLength.SCHEMA.names} for row in rows]
    write_table(settings.layout.table("example_lengths"), table_from_rows(filled, ExampleLength.SCHEMA))


@pytest.mark.parametrize("role", ["ingest", "reviewer", "approver", "operator", "auditor"])
def test_what_was_left_out_is_on_the_first_page_with_the_setting_that_keeps_it(
    ward: Callable[..., Site], role: str
) -> None:
    """For every role that sees the pipeline; the link leads to a page that the role may open."""
    site = ward(count=6)
    withhold(site.settings)
    too_long(site.settings)
    site.add("Someone", role)
    shown = unescape(site.signed_in("Someone").get("/").text)
    assert WITHHELD in shown
    assert "<code>training.max_length: 412</code>" in shown
    assert (f'href="/intake">{WITHHELD}' in shown) == (role in ("ingest", "operator"))


def test_nothing_left_out_shows_no_list(site: Site) -> None:
    site.add("Someone", "operator")
    assert "left-out-title" not in site.signed_in("Someone").get("/").text


def test_a_user_without_the_pipeline_reads_nothing_about_reports(ward: Callable[..., Site]) -> None:
    site = ward(count=6)
    withhold(site.settings)
    site.add("Someone", "user")
    assert "left-out-title" not in site.signed_in("Someone").get("/").text


def test_flagged_trusted_drafts_raise_an_alert(ward: Callable[..., Site]) -> None:
    site = ward(count=6, fields={"trusted_sources": {SOURCE: "published"}})
    site.add("Someone", "reviewer", "operator")
    shown = site.signed_in("Someone").get("/").text
    assert re.search(r'trusted examples? with flags.*?href="/queue\?state=trusted"', shown)


def test_drift_raises_an_alert_for_those_who_may_open_dagster(site: Site) -> None:
    rows = [
        {
            "release_id": "r", "window_start": NOW, "window_end": NOW, "request_count": 100, "feature": feature,
            "measure": "psi", "exceeds_threshold": is_beyond,
        }
        for feature, is_beyond in (("question length", True), ("language", False))
    ]  # fmt: skip
    write_table(site.settings.layout.table("production_drift"), table_from_rows(rows, ProductionDrift.SCHEMA))
    site.add("Operator", "operator")
    shown = site.signed_in("Operator").get("/").text
    assert "question length." in shown
    assert "language" not in shown


def test_a_damaged_table_does_not_close_the_first_page(site: Site) -> None:
    """A full disk can leave half a file."""
    for table in (
        "production_drift",
        "quarantined_corrections",
        "judge_scores",
        "base_models",
        "adapters",
        "example_lengths",
    ):
        path = site.settings.layout.table(table)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"damaged")
    for role in ("reviewer", "approver", "operator"):
        site.add(f"One {role}", role)
        assert site.signed_in(f"One {role}").get("/").status_code == 200


def test_an_empty_installation_leads_through_the_first_steps(site: Site) -> None:
    site.add("Operator", "operator")
    shown = site.signed_in("Operator").get("/").text
    assert str(site.settings.layout.raw_reports) in shown
    assert 'href="/docs/how-to/add-reports.md"' in shown
    site.add(FIRST_USER, "reviewer", "operator")  # of the sign-in link, which is no reviewer that was invited
    shown = site.signed_in("Operator").get("/").text
    assert "done" not in re.findall(r"<li[^>]*>.*?</li>", shown[shown.index("first-title") :], re.DOTALL)[1]
    site.add("Reader", "user", "reviewer")
    assert "first-title" not in site.signed_in("Reader").get("/").text


def test_without_dagster_the_failures_are_unknown_instead_of_none(site: Site) -> None:
    """`end_to_end/test_dagster_ui.py` asks the real webserver."""
    site.add("Operator", "operator")
    assert "fine-tune up dagster-webserver" in site.signed_in("Operator").get("/failures").text


def closed_gate(check: str, reason: str) -> dict[str, object]:
    """Dagster's answer about a failed check of instruction sets."""
    entries = [{"label": "reason", "text": reason}]
    failed = {"status": "FAILED", "evaluation": {"severity": "ERROR", "metadataEntries": entries}}
    gate = {"name": check, "blocking": True, "executionForLatestMaterialization": failed}
    return {
        "assetKey": {"path": ["instruction_sets"]},
        "groupName": "s05_instruction_sets",
        "repository": {"location": {"name": DEFINITIONS}},
        "assetChecksOrError": {"checks": [gate, {**gate, "name": "only_a_warning", "blocking": False}]},
    }


def test_a_closed_gate_is_on_the_first_page_of_a_reviewer(site: Site) -> None:
    """A reviewer has no Dagster UI, and waited for a training that could not start."""
    site.add("Someone", "reviewer")
    visitor = site.signed_in("Someone")
    answers = {"DeskChecks": {"assetNodes": [closed_gate("set_meets_minimum_size", "12 of `40` examples.")]}}
    with scripted_webserver(site.settings.layout.run, answers):
        shown = read_until(lambda: visitor.get("/overview").text, "gate closed")
    assert "set_meets_minimum_size of instruction_sets" in shown
    assert "12 of <code>40</code> examples." in shown
    assert "only_a_warning" not in shown


def read_until(read: Callable[[], str], words: str) -> str:
    """Pages show what Dagster said last, and ask it again after some seconds."""
    deadline = time.monotonic() + 40
    while words not in (shown := read()) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert words in shown
    return shown


def test_an_open_page_does_not_keep_a_session_alive(site: Site) -> None:
    """Polling must not extend the session of an absent user."""
    site.add("Someone", "reviewer")
    visitor, before = site.signed_in("Someone"), datetime.now(UTC) - timedelta(minutes=20)
    with site.ledger.begin() as connection:
        connection.execute(sessions.update().values(last_seen_at=before))
    seen = []
    for path in ("/overview", "/"):
        assert visitor.get(path).status_code == 200
        with site.ledger.read() as connection:
            seen.append(connection.execute(sessions.select()).mappings().one()["last_seen_at"])
    assert seen[0] == before
    assert seen[1] > before


def test_the_page_updates_progress_automatically(page: Page, site: Site) -> None:
    """Progress appears without a click and disappears when the step ends."""
    site.add("Someone", "reviewer")
    with publish_step(site.settings.layout.running_steps, replace(STEP, started_at=time.time())) as file:
        sign_in_at(page, site, "Someone")
        report, step = progress_writer(file), page.locator("[data-step=training]")
        expect(step).to_contain_text("Running")
        report(60, 240, "optimizer steps, loss 2.1, 99 tokens/s, 1 min 47 s left")
        row = page.locator(".running li")
        expect(row).to_contain_text("60 of 240 optimizer steps, loss 2.1", timeout=15_000)
        expect(row).not_to_contain_text("1 min 47 s")  # the page has its own estimate
        assert row.locator("progress").evaluate("bar => bar.value / bar.max") == 0.25
    expect(step).not_to_contain_text("Running", timeout=15_000)
    expect(row).to_have_count(0)


def test_the_box_on_the_first_page_asks_and_shows_the_answer_there(
    page: Page, settings: Settings, tmp_path: Path
) -> None:
    """The first thing that a new user does."""
    with asking(changed(settings, desk={"port": free_port()}), tmp_path / "engine.sock") as (own, speaker):
        stop = start_desk(own)
        ledger = open_ledger(own)
        site = Site(own, ledger)
        site.add("Someone", "user")
        sign_in_at(page, site, "Someone")
        page.get_by_label("Ask the production model").fill("What brings the patient in?")
        page.get_by_role("button", name="Ask", exact=True).click()
        expect(page.locator(".exchange")).to_contain_text("A cough, since Monday.")
        assert re.fullmatch(rf"{site.url}/?", page.url)
        assert speaker.asked == ["What brings the patient in?"]
        ledger.close()
        stop()


@pytest.mark.slow
def test_the_first_page_is_accessible_in_every_look(look: Page, ward: Callable[..., Site]) -> None:
    """With all that may be on it: steps that run, a model, a hold."""
    site = ward()
    switched(site.ledger, build_empty_release(site.settings, site.ledger, "You are brief.", {}))
    record_hold(site)
    site.add("Someone", "reviewer", "operator")
    with publish_step(site.settings.layout.running_steps, replace(STEP, started_at=time.time())) as file:
        progress_writer(file)(60, 240, "optimizer steps")
        sign_in_at(look, site, "Someone")
        check(look, "first page")
