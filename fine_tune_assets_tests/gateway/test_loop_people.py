"""The users of the demo of the loop at a real gateway and engine: they ask, they correct, and a switch loses them nothing."""

import time

import pytest

from fine_tune_assets.cli.loop.people import Answered, LoopError, Ward
from fine_tune_assets.cli.loop.traffic import Traffic
from fine_tune_assets.core.keys import read_or_create_key
from fine_tune_assets.ledger.corrections import list_corrections
from fine_tune_assets.ledger.deployments import live_deployment
from fine_tune_assets.ledger.encryption import KEY_NAME
from fine_tune_assets.serving.switching import serve_release
from fine_tune_assets_tests.gateway.conftest import Installation
from fine_tune_assets_tests.serving.tiny import build_release

INSTRUCTION, INPUT = "Write the handover line.", "NOTE SECTION\nplan\n\nDIALOGUE\nPatient: I will come back."


def test_a_ward_asks_and_corrects_what_it_was_answered(installation: Installation) -> None:
    """The correction names the release that answered; sent again, it is the same one."""
    ward = Ward(installation.url, installation.correct_key)
    answered = ward.ask(INSTRUCTION, INPUT, max_tokens=4)
    assert answered.release_id == installation.release_id
    first = ward.correct(INSTRUCTION, INPUT, answered, "Handover: plan.", "visit-1")
    assert ward.correct(INSTRUCTION, INPUT, answered, "Handover: plan.", "visit-1") == first
    key = read_or_create_key(installation.settings.layout.keys, KEY_NAME)
    (kept,) = list_corrections(installation.ledger, key)
    assert (kept.correction_id, kept.release_id, kept.author) == (first, installation.release_id, "corrects")
    assert (kept.input, kept.answer, kept.corrected_answer) == (INPUT, answered.text, "Handover: plan.")


def test_a_refused_correction_stops_the_demo(installation: Installation) -> None:
    """By a key that may only ask."""
    ward = Ward(installation.url, installation.chat_key)
    answered = Answered("no", installation.release_id)
    with pytest.raises(LoopError, match="403"):
        ward.correct(INSTRUCTION, INPUT, answered, "Handover: plan.", "visit-2")


def test_the_client_that_asks_all_the_time_sees_both_releases_and_no_failure(installation: Installation) -> None:
    """As in the demo, with a switch that nobody tells it of."""
    live = live_deployment(installation.ledger)
    assert live is not None
    with Traffic(installation.url, installation.chat_key) as traffic:
        _wait_for(traffic, live.release_id)
        second = build_release(installation.settings, installation.ledger, "You are briefer.")
        serve_release(installation.ledger, second, timeout_seconds=120)
        _wait_for(traffic, second)
        tally = traffic.stop()
    assert tally.failed == {}
    assert set(tally.by_release) == {live.release_id, second}


def _wait_for(traffic: Traffic, release_id: str) -> None:
    """Until that release has answered a request and a stream."""
    deadline = time.monotonic() + 120
    while traffic.tally.by_release[release_id] < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
