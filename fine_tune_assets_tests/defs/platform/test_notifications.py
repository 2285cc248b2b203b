"""Which notifications the sensor sends, with a real Dagster instance, ledger and HTTP server."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from fine_tune_assets.core.dagster_ui import DEFINITIONS
from fine_tune_assets.core.files import write_table
from fine_tune_assets.defs.platform.notifications import RETRY_DELAY, failed_runs, notification_sensor, recent_messages
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.ledger.notification_log import FIRST_RETRY_DELAY
from fine_tune_assets.ledger.serving.verdicts import record_verdict
from fine_tune_assets.notifications.delivery import notify
from fine_tune_assets.tables.correction_rows import ProductionDrift, QuarantinedCorrection
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets_tests.changed_settings import changed
from fine_tune_assets_tests.ledger.ledger_rows import make_verdict
from fine_tune_assets_tests.notifications.web_server import web_server

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
    ids=["expected", "without class", "unexpected"],
)
def test_the_message_about_a_failed_run_does_not_contain_its_error_message(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: str
) -> None:
    """It names the run, the asset and the type of the error; the details are in the UI."""
    run = _failed_run(instance, error)
    settled = datetime.now(UTC) + 2 * RETRY_DELAY
    with web_server() as (url, posted), Installation().ledger() as ledger:
        monkeypatch.setenv("FINE_TUNE_NOTIFY_WEBHOOK_URL", url)
        settings = Installation().settings
        assert list(failed_runs(instance, settings, ledger, datetime.now(UTC))) == []  # may yet be retried
        (message,) = failed_runs(instance, settings, ledger, settled)
        assert notify(settings, ledger, message, settled) == {"webhook": None}
        assert list(failed_runs(instance, settings, ledger, settled)) == []
    ((_, message_json),) = posted
    assert {name: message_json[name] for name in ("event", "about", "assets", "error_kind")} == {
        "event": "run_failed",
        "about": run.run_id,
        "assets": ["merged_weights"],
        "error_kind": kind,
    }
    assert MARKER not in str(posted)


def test_a_message_is_sent_again_after_a_failed_delivery_and_not_for_a_run_that_will_be_retried(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage of the webhook must not lose a message, and a retried run needs no attention."""
    run, retried = (_failed_run(instance, KeyError(MARKER)).run_id for _ in range(2))
    instance.add_run_tags(retried, {"dagster/will_retry": "true"})
    settled = datetime.now(UTC) + 2 * RETRY_DELAY
    with Installation().ledger() as ledger:
        monkeypatch.setenv("FINE_TUNE_NOTIFY_WEBHOOK_URL", "http://127.0.0.1:9/")
        settings = Installation().settings
        (message,) = failed_runs(instance, settings, ledger, settled)
        assert message.about == run
        assert all(notify(settings, ledger, message, settled).values())
        assert list(failed_runs(instance, settings, ledger, settled)) == []  # the next attempt is not due yet
        for later in (FIRST_RETRY_DELAY, timedelta(hours=5)):
            assert [again.about for again in failed_runs(instance, settings, ledger, settled + later)] == [run]
        assert list(failed_runs(instance, settings, ledger, settled + timedelta(days=2))) == []


@pytest.mark.parametrize(("line", "reported"), [("", "definitions"), ("law", "law")])
def test_a_line_is_notified_of_its_own_failed_runs_only(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, line: str, reported: str
) -> None:
    """All lines share Dagster's storage, and each may notify other people."""
    ids = {"definitions": DEFINITIONS, "law": "law", "finance": "finance"}
    made = {name: _run_of(instance, location) for name, location in ids.items()}
    settled = datetime.now(UTC) + 2 * RETRY_DELAY
    monkeypatch.setenv("FINE_TUNE_NOTIFY_WEBHOOK_URL", "http://127.0.0.1:9/")
    with Installation().ledger() as ledger:
        settings = changed(Installation().settings, line=line)
        assert [message.about for message in failed_runs(instance, settings, ledger, settled)] == [made[reported]]


def _run_of(instance: dg.DagsterInstance, location: str) -> str:
    """A failed run that a code location's job was launched for."""
    code = GrpcServerCodeLocationOrigin(host="localhost", port=1, location_name=location)
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(code, "__repository__"), "__ASSET_JOB")
    run = dg.DagsterRun("__ASSET_JOB", remote_job_origin=origin, status=dg.DagsterRunStatus.FAILURE)
    instance.add_run(run)
    return run.run_id


def test_without_a_channel_the_sensor_skips(instance: dg.DagsterInstance) -> None:
    """This is the default: no connection to anywhere."""
    skip = notification_sensor(dg.build_sensor_context(instance=instance))
    assert isinstance(skip, dg.SkipReason)
    assert "FINE_TUNE_NOTIFY_WEBHOOK_URL" in str(skip.skip_message)


def test_a_hold_a_refusal_and_a_pending_quarantine_are_sent_and_a_promotion_is_not(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only events that need a person are sent."""
    installation, now = Installation(), datetime.now(UTC)
    with installation.ledger() as ledger:
        for decision in ("promote", "hold", "refuse"):
            record_verdict(ledger, make_verdict(decision, adapter_id=decision))
        row = {
            "correction_id": "c",
            "author": "a",
            "fingerprint": "f",
            "reasons": ["flood"],
            "contradicted_examples": [],
        }
        row |= {"near_duplicate_count": 11, "state": "pending"}
        write_table(
            installation.layout.table("quarantined_corrections"), table_from_rows([row], QuarantinedCorrection.SCHEMA)
        )
        assert [m.event for m in recent_messages(installation, ledger, now)] == [
            "verdict_hold",
            "verdict_refuse",
            "quarantine",
        ]
        row["state"] = "rejected"
        write_table(
            installation.layout.table("quarantined_corrections"), table_from_rows([row], QuarantinedCorrection.SCHEMA)
        )
        assert [m.event for m in recent_messages(installation, ledger, now)] == ["verdict_hold", "verdict_refuse"]
    with web_server() as (url, posted):
        monkeypatch.setenv("FINE_TUNE_NOTIFY_WEBHOOK_URL", url)
        for _ in range(2):
            notification_sensor(dg.build_sensor_context(instance=instance))
    assert [message["event"] for _, message in posted] == ["verdict_hold", "verdict_refuse"]


def test_drift_is_reported_even_if_the_next_window_is_normal() -> None:
    """While the mail server was away the next window came; the one that was beyond a limit is still news, once."""
    installation, now = Installation(), datetime.now(UTC)
    ends = [now - timedelta(hours=hours) for hours in (30, 5, 3, 1)]
    row = dict.fromkeys(ProductionDrift.SCHEMA.names) | {"window_start": now - timedelta(days=2), "request_count": 1}
    row |= {"release_id": "r-1", "feature": "length", "measure": "psi"}
    rows = [
        row | {"window_end": end, "exceeds_threshold": beyond}
        for end, beyond in zip(ends, (True, True, True, False), strict=True)
    ]
    write_table(installation.layout.table("production_drift"), table_from_rows(rows, ProductionDrift.SCHEMA))
    with installation.ledger() as ledger:
        messages = [(message.event, message.about) for message in recent_messages(installation, ledger, now)]
    assert messages == [("production_drift", f"r-1 {ends[2]:%Y-%m-%dT%H:%M}")]
