"""What the demo of the loop promises is asked for at its end: each promise that is not kept ends it with its reason."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from fine_tune_assets.cli.demo_loop import APPROVER, show, sign_first_hold
from fine_tune_assets.cli.loop.handovers import Handover
from fine_tune_assets.cli.loop.people import LoopError
from fine_tune_assets.cli.loop.story import Outcome, require_kept, require_learned
from fine_tune_assets.cli.loop.traffic import Tally
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.ledger.verdicts import record_verdict, signers_of
from fine_tune_assets_tests.ledger.fresh import fresh_ledger
from fine_tune_assets_tests.ledger.made import make_verdict

ASKED = Handover("v-1", "NOTE SECTION\nplan", "Handover: plan. Told by: patient. Own words: I will come back in May.")
KEPT = Outcome(
    first_release="r-1",
    second_release="r-2",
    steps=[
        ("questions are asked, and answered wrongly", 2.0),
        ("trained, judged, promoted, released, switched", 300.0),
    ],
    corrections=["c-1", "c-2", "c-3"],
    learned_from=["c-1", "c-3"],
    answer_before="The patient will come back.",
    answer_after=ASKED.line,
    verdict={"figures": [{"family": "target", "difference": 1.1, "low": 0.4, "high": 1.8, "items": 37}]},
    tally=Tally(whole=9, by_release=Counter({"r-1": 6, "r-2": 3})),
)


def test_what_is_kept_passes() -> None:
    require_kept(KEPT)
    require_learned(KEPT, ASKED)


@pytest.mark.parametrize("kind", ["502", "cut", "ReadError"])
def test_one_failed_request_is_one_too_many(kind: str) -> None:
    """ "Without a failed request" is exactly that."""
    tally = Tally(whole=999, failed=Counter({kind: 1}), by_release=KEPT.tally.by_release)
    with pytest.raises(LoopError, match=kind):
        require_kept(replace(KEPT, tally=tally))


def test_a_client_that_never_saw_the_switch_proves_nothing_of_it() -> None:
    """Had it stopped asking early, no request could have failed."""
    with pytest.raises(LoopError, match="both releases"):
        require_kept(replace(KEPT, tally=Tally(whole=6, by_release=Counter({"r-1": 6}))))


@pytest.mark.parametrize("learned", [[], ["c-1", "somebody else's"]])
def test_the_lineage_must_name_the_corrections_that_were_sent(learned: list[str]) -> None:
    """And nothing else."""
    with pytest.raises(LoopError, match="lineage"):
        require_kept(replace(KEPT, learned_from=learned))


def test_a_question_that_was_answered_rightly_before_shows_nothing() -> None:
    with pytest.raises(LoopError, match="nothing to correct"):
        require_learned(replace(KEPT, answer_before=ASKED.line), ASKED)


def test_a_question_that_is_still_answered_wrongly_fails_the_demo() -> None:
    """Also when the verdict was to promote."""
    with pytest.raises(LoopError, match="wrongly too"):
        require_learned(replace(KEPT, answer_after="Handover: plan."), ASKED)


def test_the_last_line_is_json_with_the_figures(capsys: pytest.CaptureFixture[str]) -> None:
    """As of every benchmark: a machine can read it."""
    show(KEPT, first_seconds=500.0, seconds=310.0)
    printed = capsys.readouterr().out.strip().splitlines()
    figures = json.loads(printed[-1])
    assert (figures["gain_low"], figures["failed_requests"], figures["learned_from"]) == (0.4, 0, 2)
    assert any("2 of 3 corrections" in line for line in printed)


def test_only_a_first_verdict_on_hold_is_signed(tmp_path: Path) -> None:
    """A refusal ends the demo, and what the loop is about opens its gate by itself or not at all."""
    settings = Settings(data_dir=tmp_path)
    ledger = fresh_ledger(settings.database_url)
    assert not sign_first_hold(settings, str)
    first, second = (make_verdict("hold", adapter_id=name) for name in ("a", "b"))
    record_verdict(ledger, first)
    assert sign_first_hold(settings, str)
    assert signers_of(ledger, first.verdict_id) == [APPROVER]
    assert not sign_first_hold(settings, str)
    record_verdict(ledger, second)
    assert not sign_first_hold(settings, str)
    assert signers_of(ledger, second.verdict_id) == []
    ledger.close()


def test_a_refused_first_verdict_is_not_signed(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    ledger = fresh_ledger(settings.database_url)
    record_verdict(ledger, make_verdict("refuse"))
    assert not sign_first_hold(settings, str)
    ledger.close()
