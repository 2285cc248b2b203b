"""The correction loop example: its installation, the verdict that it signs, and the errors that end it."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from examples.correction_loop.clients import Answer, LoopError, Tally
from examples.correction_loop.handovers import Handover, read_visits
from examples.correction_loop.installation import VISITS, make_installation
from examples.correction_loop.loop import (
    NotPromoted,
    Outcome,
    Watch,
    first_hold,
    require_kept,
    require_learned,
    require_promotion,
    show,
)
from fine_tune_assets.core.settings import Settings
from fine_tune_assets_tests.changed_settings import settings_in

ASKED = Handover("v-1", "NOTE SECTION\nplan", "Handover: plan. Told by: patient. Own words: I will come back in May.")
KEPT = Outcome(
    Tally(complete=9, by_release=Counter({"r-1": 6, "r-2": 3})),
    runs=[],
    steps=[("ask 1 questions", 2.0), ("wait for the daemon", 300.0)],
    corrections=["c-1", "c-2", "c-3"],
    learned_from=["c-1", "c-3"],
    before=[Answer("The patient will come back.", "r-1")],
    after=[Answer(ASKED.line, "r-2")],
    verdict={"evidence": {"metrics": [{"family": "target", "difference": 1.1, "low": 0.4, "high": 1.8, "items": 37}]}},
)


def test_the_installation_shares_nothing_with_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example can run next to an installation in use, whose ledger it must not write."""
    monkeypatch.setenv("FINE_TUNE_LEDGER_URL", "postgresql://ledger.intranet/production")
    monkeypatch.setenv("FINE_TUNE_THREADS", "1")
    settings = settings_in(make_installation(tmp_path / "loop", read_visits(VISITS)[:3]).environment)
    assert {settings.data_dir.parent, settings.dagster.home.parent} == {tmp_path / "loop"}
    assert (settings.ledger_url, settings.threads, settings.recipe) == ("", 1, "demo_loop")
    ports, usual = {settings.gateway.port, settings.desk.port}, Settings()
    assert len(ports - {usual.gateway.port, usual.desk.port}) == 2
    (batch,) = settings.layout.raw_reports.iterdir()
    assert read_visits(batch / "visits.csv") == read_visits(VISITS)[:3]
    assert (batch / "LICENSE.txt").is_file()


def test_an_existing_installation_is_never_overwritten(tmp_path: Path) -> None:
    make_installation(tmp_path, read_visits(VISITS)[:3])
    with pytest.raises(FileExistsError):
        make_installation(tmp_path, read_visits(VISITS)[:3])


def test_only_a_first_verdict_on_hold_is_signed() -> None:
    """A refusal ends the example, and only its evidence may open the gate for the second verdict."""
    hold: dict[str, Any] = {"verdict_id": "v-1", "decision": "hold", "signed_by": []}
    assert first_hold([hold]) == hold
    for others in ([], [hold, hold], [{**hold, "signed_by": ["approver-one"]}], [{**hold, "decision": "refuse"}]):
        assert first_hold(others) is None


@pytest.mark.parametrize("decision", ["hold", "refuse"])
def test_a_second_verdict_other_than_promote_is_reported_with_its_reasons_and_is_not_a_failure(decision: str) -> None:
    """A closed gate is a valid result of the example."""
    require_promotion({"decision": "promote", "reasons": []})
    with pytest.raises(NotPromoted, match=decision):
        require_promotion({"decision": decision, "reasons": ["Not clearly better."]})
    assert not issubclass(NotPromoted, LoopError)


def test_a_valid_outcome_passes_and_is_printed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Scripts read the last line."""
    require_kept(KEPT)
    require_learned(KEPT, ASKED)
    show(KEPT, [ASKED])
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (figures["right_before"], figures["right_after"], figures["failed_requests"]) == (0, 1, 0)
    assert (figures["gain_low"], figures["learned_from"], figures["corrections"]) == (0.4, 2, 3)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"tally": Tally(999, Counter({"502": 1}), KEPT.tally.by_release)}, "502"),
        ({"tally": Tally(6, by_release=Counter({"r-1": 6}))}, "both releases"),
        ({"learned_from": []}, "lineage"),
        ({"learned_from": ["c-1", "c-of-another-user"]}, "lineage"),
    ],
)
def test_a_failed_request_and_a_lineage_without_the_corrections_end_the_example(
    broken: dict[str, Any], reason: str
) -> None:
    """Traffic that never saw the second release would prove nothing about the switch."""
    with pytest.raises(LoopError, match=reason):
        require_kept(replace(KEPT, **broken))


@pytest.mark.parametrize("broken", [{"before": KEPT.after}, {"after": [Answer("Handover: plan.", "r-2")]}])
def test_an_answer_that_was_right_before_or_is_wrong_after_ends_the_example(broken: dict[str, Any]) -> None:
    """This holds even if the verdict is to promote."""
    with pytest.raises(LoopError):
        require_learned(replace(KEPT, **broken), ASKED)


@dg.asset
def succeeds() -> None:
    """An asset that succeeds."""


@dg.asset
def fails() -> None:
    raise RuntimeError("no")


def _run(asset: dg.AssetsDefinition, instance: dg.DagsterInstance) -> None:
    dg.materialize([asset], instance=instance, raise_on_error=False)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test(temp_dir=str(tmp_path)) as made:
        yield made


def test_each_new_run_is_recorded_once_and_a_failed_run_ends_the_wait(instance: dg.DagsterInstance) -> None:
    """After a failure the next release never comes. The verdict is checked first, because it may contain the reason."""
    _run(succeeds, instance)
    checked: list[int] = []
    watch = Watch(instance, lambda _: checked.append(len(checked)))
    _run(succeeds, instance)
    for _ in range(2):
        watch.until(lambda: True, "anything")
    assert [run.is_success for run in watch.ended] == [True]
    _run(fails, instance)
    with pytest.raises(LoopError, match="failed"):
        watch.until(lambda: False, "anything")
    assert checked == [0, 1]


def test_a_timeout_names_what_it_waited_for_and_time_without_polling_is_not_quiet(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While users ask and correct, runs are not polled; the next poll sees them."""
    monkeypatch.setattr("examples.correction_loop.loop.QUIET_SECONDS", 0.2)
    watch, quiet = Watch(instance, lambda _: None), list[bool]()
    time.sleep(0.3)
    watch.until(lambda: quiet.append(watch.is_quiet()) is None, "anything")
    assert quiet == [False]
    with pytest.raises(LoopError, match="another release"):
        watch.until(lambda: False, "another release", 0)
