"""The correction loop example with a real gateway and engine: its users chat, correct, and do not notice a switch."""

import pytest

from examples.correction_loop.clients import LoopError, Traffic, ask, correct, http_client
from fine_tune_assets.core.keys import read_or_create_key
from fine_tune_assets.ledger.encryption import KEY_NAME
from fine_tune_assets.ledger.reviews.correction_records import list_corrections
from fine_tune_assets.serving.rollout import deploy_release
from fine_tune_assets_tests.gateway.conftest import Installation
from fine_tune_assets_tests.ledger.ledger_rows import live_of
from fine_tune_assets_tests.serving.load import wait
from fine_tune_assets_tests.serving.tiny_releases import build_release

INSTRUCTION, INPUT = "Write the handover line.", "NOTE SECTION\nplan\n\nDIALOGUE\nPatient: I will come back."


def test_a_user_corrects_an_answer_and_a_chat_key_can_not(
    installation: Installation,
) -> None:
    """The correction is stored with author and release; a retry is the same correction."""
    key = read_or_create_key(installation.settings.layout.keys, KEY_NAME)
    with http_client(installation.url) as gateway:
        answer = ask(gateway, installation.correct_key, f"{INSTRUCTION}\n\n{INPUT}", max_tokens=4)
        texts = {
            "instruction": INSTRUCTION,
            "input": INPUT,
            "answer": answer.text,
            "corrected_answer": "Handover: plan.",
        }
        sent = {"release_id": answer.release_id, "error_kind": "format", "severity": "medium", **texts}
        first = correct(gateway, installation.correct_key, sent, "visit-1")
        assert correct(gateway, installation.correct_key, sent, "visit-1") == first
        with pytest.raises(LoopError, match="403"):
            correct(gateway, installation.chat_key, sent, "visit-2")
    (kept,) = list_corrections(installation.ledger, key)
    assert (kept.correction_id, kept.release_id, kept.author) == (first, installation.release_id, "corrects")
    assert (kept.input, kept.answer, kept.corrected_answer) == (INPUT, answer.text, "Handover: plan.")


def test_the_background_traffic_sees_both_releases_and_no_failure(installation: Installation) -> None:
    """With a switch during the traffic."""
    live = live_of(installation.ledger)
    with http_client(installation.url) as gateway, Traffic(gateway, installation.chat_key) as traffic:
        _wait_for(traffic, live.release_id)
        second = build_release(installation.settings, installation.ledger, "You are briefer.")
        deploy_release(installation.ledger, second, timeout_seconds=120)
        _wait_for(traffic, second)
    assert traffic.tally.failed == {}
    assert set(traffic.tally.by_release) == {live.release_id, second}


def _wait_for(traffic: Traffic, release_id: str) -> None:
    """Wait until that release has answered a request and a stream."""
    wait(lambda: traffic.tally.by_release[release_id] >= 2, 120)
