"""What the sensors notice, over a real Dagster instance, ledger and HTTP server."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from fine_tune_assets.core.files import write_table
from fine_tune_assets.defs.platform.notifications import SETTLING, failed_runs, news, news_told
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.ledger.notifications import FIRST_WAIT
from fine_tune_assets.ledger.serving.verdicts import record_verdict
from fine_tune_assets.notifications.delivery import notify
from fine_tune_assets.tables.corrections import ProductionDrift, QuarantinedCorrection
from fine_tune_assets.tables.records import table_of
from fine_tune_assets_tests.ledger.made import make_verdict
from fine_tune_assets_tests.notifications.test_delivery import web_server

pytestmark = pytest.mark.usefixtures("installation_dir")
MARKER = "Zebrafinch"


def _failed_run(instance: dg.DagsterInstance, error: Exception) -> dg.ExecuteInProcessResult:
    @dg.asset
    def merged_weights() -> None:
        raise error

    return dg.Definitions(assets=[merged_weights]).resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance, raise_on_error=False
    )  # fmt: skip


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (dg.Failure(f"GateClosedError: {MARKER}"), "GateClosedError"),
        (dg.Failure(f"{MARKER}: a cough"), ""),
        (KeyError(MARKER), "KeyError"),
    ],
    ids=["its own words", "no class", "not expected"],
)
def test_a_failed_run_is_told_without_a_word_of_its_error(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: str
) -> None:
    """An operator learns which run, which asset and what kind of error; the rest stands in the UI."""
    run = _failed_run(instance, error)
    settled = datetime.now(UTC) + 2 * SETTLING
    with web_server() as (url, posted), Installation().ledger() as ledger:
        monkeypatch.setenv("FINE_TUNE_NOTIFY_WEBHOOK", url)
        settings = Installation().settings
        assert list(failed_runs(instance, settings, ledger, datetime.now(UTC))) == []  # may yet be retried
        (message,) = failed_runs(instance, settings, ledger, settled)
        assert notify(settings, ledger, message, settled) == {"webhook": None}
        assert list(failed_runs(instance, settings, ledger, settled)) == []
    ((_, told),) = posted
    assert (told["event"], told["about"], told["assets"]) == ("run_failed", run.run_id, ["merged_weights"])
    assert told["error_kind"] == kind
    assert MARKER not in str(posted)


def test_a_failed_run_is_told_again_when_the_webhook_was_down_and_not_if_it_will_be_retried(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is woken for what mends itself, and nobody misses a failure because the mail server restarted."""
    run, retried = (_failed_run(instance, KeyError(MARKER)).run_id for _ in range(2))
    instance.add_run_tags(retried, {"dagster/will_retry": "true"})
    settled = datetime.now(UTC) + 2 * SETTLING
    with Installation().ledger() as ledger:
        monkeypatch.setenv("FINE_TUNE_NOTIFY_WEBHOOK", "http://127.0.0.1:9/")
        settings = Installation().settings
        (message,) = failed_runs(instance, settings, ledger, settled)
        assert message.about == run
        assert all(notify(settings, ledger, message, settled).values())
        assert list(failed_runs(instance, settings, ledger, settled)) == []  # it is asked again after a wait
        for later in (FIRST_WAIT, timedelta(hours=5)):
            assert [again.about for again in failed_runs(instance, settings, ledger, settled + later)] == [run]
        assert list(failed_runs(instance, settings, ledger, settled + timedelta(days=2))) == []


def test_with_nobody_to_tell_the_sensors_look_at_nothing(instance: dg.DagsterInstance) -> None:
    """The default: no connection to anywhere."""
    said = news_told(dg.build_sensor_context(instance=instance), installation=Installation())
    assert isinstance(said, dg.SkipReason)
    assert "nobody" in str(said.skip_message)


def test_a_hold_a_refusal_and_a_quarantine_that_waits_are_news_and_a_promotion_is_none(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What needs a person is told; what goes on by itself is not."""
    installation, now = Installation(), datetime.now(UTC)
    with installation.ledger() as ledger:
        for decision in ("promote", "hold", "refuse"):
            record_verdict(ledger, make_verdict(decision, adapter_id=decision))
        row = {"correction_id": "c", "author": "a", "fingerprint": "f", "reasons": ["flood"], "contradicts": []}
        row |= {"near_identical": 11, "state": "waiting"}
        write_table(installation.layout.table("quarantined_corrections"), table_of([row], QuarantinedCorrection.SCHEMA))
        assert [m.event for m in news(installation, ledger, now)] == ["verdict_hold", "verdict_refuse", "quarantine"]
        row["state"] = "rejected"
        write_table(installation.layout.table("quarantined_corrections"), table_of([row], QuarantinedCorrection.SCHEMA))
        assert [m.event for m in news(installation, ledger, now)] == ["verdict_hold", "verdict_refuse"]
    with web_server() as (url, posted):
        monkeypatch.setenv("FINE_TUNE_NOTIFY_WEBHOOK", url)
        for _ in range(2):
            news_told(dg.build_sensor_context(instance=instance), installation=Installation())
    assert [told["event"] for _, told in posted] == ["verdict_hold", "verdict_refuse"]


def test_drift_is_told_though_the_window_after_it_was_ordinary() -> None:
    """While the mail server was away the next window came; the one that was beyond a limit is still news, once."""
    installation, now = Installation(), datetime.now(UTC)
    ends = [now - timedelta(hours=hours) for hours in (30, 5, 3, 1)]
    row = dict.fromkeys(ProductionDrift.SCHEMA.names) | {"window_start": now - timedelta(days=2), "requests": 1}
    row |= {"release_id": "r-1", "feature": "length", "measure": "psi"}
    rows = [
        row | {"window_end": end, "is_beyond": beyond}
        for end, beyond in zip(ends, (True, True, True, False), strict=True)
    ]
    write_table(installation.layout.table("production_drift"), table_of(rows, ProductionDrift.SCHEMA))
    with installation.ledger() as ledger:
        told = [(message.event, message.about) for message in news(installation, ledger, now)]
    assert told == [("production_drift", f"r-1 {ends[2]:%Y-%m-%dT%H:%M}")]
