"""Asking at a product line: question, correction and log entry reach that line's model and ledger only."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fine_tune_assets.core.keys import read_or_create_key
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.running_server import free_port
from fine_tune_assets.gateway.gateway_app import create_line_apps
from fine_tune_assets.ledger.encryption import KEY_NAME
from fine_tune_assets.ledger.reviews.correction_records import list_corrections
from fine_tune_assets_tests.changed_settings import changed
from fine_tune_assets_tests.desk.conftest import Site
from fine_tune_assets_tests.desk.pages.ask_forms import BETTER, form_of
from fine_tune_assets_tests.desk.scripted_engine import Speaker, speaking
from fine_tune_assets_tests.desk.two_lines import LAW, TwoLines, serving_lines
from fine_tune_assets_tests.gateway.answers.answering import live_at
from fine_tune_assets_tests.loopback import start_app
from fine_tune_assets_tests.serving.tiny_releases import build_empty_release

ASKER = "User One"


@dataclass(frozen=True)
class Models:
    lines: TwoLines
    main: Speaker
    law: Speaker


def serve_release(site: Site, socket: Path) -> None:
    release_id = build_empty_release(site.settings, site.ledger, f"You serve {site.settings.line or 'main'}.", {})
    live_at(site.settings, site.ledger, socket, release_id)


@pytest.fixture
def models(settings: Settings, short_path: Path) -> Iterator[Models]:
    """A desk and a gateway for both lines, each with a live release."""
    first, second = short_path / "a.sock", short_path / "b.sock"
    own = changed(settings, data_dir=short_path / "d", gateway={"port": free_port()})
    with serving_lines(own) as lines, speaking(first) as main, speaking(second) as law:
        law.pieces = ["A ", "lease."]
        serve_release(lines.main, first)
        serve_release(lines.law, second)
        for site in (lines.main, lines.law):
            site.add(ASKER, "user")
        stop = start_app(create_line_apps(lines.main.settings), own.gateway.port, log_level="warning")
        yield Models(lines, main, law)
        stop()


def corrections_of(site: Site) -> list[str]:
    key = read_or_create_key(site.settings.layout.keys, KEY_NAME)
    return [kept.corrected_answer for kept in list_corrections(site.ledger, key)]


def test_each_line_asks_its_own_model_and_keeps_its_own_corrections(models: Models) -> None:
    """A question about a contract must not reach the clinical model, nor its log."""
    visitor = models.lines.main.visitor()
    for line, speaker, answer, site in (
        (LAW, models.law, "A lease.", models.lines.law),
        ("main", models.main, "A cough, since Monday.", models.lines.main),
    ):
        visitor.get(f"/lines/{line}")
        assert visitor.sign_in(ASKER).status_code == 303
        shown = visitor.post("/ask", {"question": f"What is it, {line}?"}, page="/ask")
        assert answer in shown.text
        assert speaker.asked == [f"What is it, {line}?"]
        sent = visitor.post("/ask/correct", {**form_of(shown.text), **BETTER, "corrected_answer": line}, page="/ask")
        assert sent.status_code == 200
        assert corrections_of(site) == [line]
