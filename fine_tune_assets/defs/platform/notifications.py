"""Detects what people should be notified of: failed runs, stopped candidates, rollbacks, drift and pending corrections.

`notifications/` sends the messages. Without a webhook or mail server in the settings, nothing is sent. A delivery that fails
affects nothing else.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from fine_tune_assets.core.dagster_ui import PATH_PREFIX, code_location
from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.corrections.quarantine_rules import PENDING
from fine_tune_assets.defs.platform.kept_instance import kept_instance
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.notification_log import (
    automatic_rollbacks,
    list_changed_releases,
    list_stopped_candidates,
    list_tampering,
)
from fine_tune_assets.notifications.delivery import configured_channels, is_due, notify
from fine_tune_assets.notifications.messages import Message, extract_error_type

_WILL_RETRY = "dagster/will_retry"
LOOK_BACK = timedelta(days=1)
"""Older events are not reported, so that turning notifications on does not send a year of messages."""
TAMPERING_INTERVAL = timedelta(hours=1)
MAX_ABOUT = 200
"""Characters of the id in the ledger."""
RETRY_DELAY = timedelta(seconds=20)
"""Dagster tags a failed run for retry only some time after it has recorded the failure."""


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Sends a webhook or mail for failed runs, candidates on hold, rollbacks, drift, and corrections in quarantine.",
)
def notification_sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    installation = Installation()
    settings = installation.settings
    if not configured_channels(settings):
        return dg.SkipReason(
            "No webhook or mail server is configured. Set FINE_TUNE_NOTIFY_WEBHOOK_URL to be notified."
        )
    now = datetime.now(UTC)
    sent = 0
    try:
        with installation.ledger() as ledger:
            for message in [
                *failed_runs(kept_instance(context), settings, ledger, now),
                *recent_messages(installation, ledger, now),
                *tampering_messages(context, ledger, now),
            ]:
                for channel, error in notify(settings, ledger, message, now).items():
                    sent += error is None
                    if error is not None:
                        context.log.warning(
                            f"The {channel} notification of {message.event} {message.about} failed: {error}."
                        )
    except FineTuneError as error:
        context.log.error(str(error))
    return dg.SkipReason(f"{sent} messages were sent." if sent else "There is nothing new to send.")


def tampering_messages(context: dg.SensorEvaluationContext, ledger: Ledger, now: datetime) -> Iterator[Message]:
    """Messages about what was changed in the ledger from outside, once a day. Looks once an hour, because it reads everything."""
    if context.cursor and now - datetime.fromisoformat(context.cursor) < TAMPERING_INTERVAL:
        return
    context.update_cursor(now.isoformat())
    for what in list_tampering(ledger):
        yield Message("broken_seal", f"{now:%Y-%m-%d} {what}"[:MAX_ABOUT])


def failed_runs(instance: dg.DagsterInstance, settings: Settings, ledger: Ledger, now: datetime) -> Iterator[Message]:
    """Messages about runs of the last day that failed and are not retried, if not yet sent and due."""
    recent_failures = dg.RunsFilter(
        statuses=[dg.DagsterRunStatus.FAILURE], updated_after=now - LOOK_BACK, updated_before=now - RETRY_DELAY
    )
    for record in instance.get_run_records(recent_failures):
        run = record.dagster_run
        is_retried = run.tags.get(_WILL_RETRY) == "true"
        if (
            is_retried
            or not _is_own_run(run, settings.line)
            or not is_due(settings, ledger, "run_failed", run.run_id, now)
        ):
            continue
        events = [log.dagster_event for log in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)]
        failures = [event for event in events if event is not None and event.step_key]
        kinds = [_root_error_kind(event.step_failure_data.error) for event in failures]
        yield Message(
            "run_failed",
            run.run_id,
            assets=tuple(sorted({event.step_key for event in failures if event.step_key})),
            error_kind=", ".join(dict.fromkeys(kind for kind in kinds if kind)),
            link=settings.desk_page_url(f"{PATH_PREFIX}/runs/{run.run_id}"),
        )


def _is_own_run(run: dg.DagsterRun, line: str) -> bool:
    """Whether the run belongs to a product line. Every line reports one without a code location."""
    origin = run.remote_job_origin
    return origin is None or origin.location_name == code_location(line)


def _root_error_kind(error: Any) -> str:
    """The type of the root cause: Dagster wraps unexpected errors in its own."""
    while error is not None and error.cause is not None:
        error = error.cause
    return extract_error_type(error.message) if error else ""


def recent_messages(installation: Installation, ledger: Ledger, now: datetime) -> Iterator[Message]:
    """Messages about the last day, including those already sent."""
    page_url = installation.settings.desk_page_url
    for decision, verdict_id in list_stopped_candidates(ledger, now - LOOK_BACK):
        yield Message(f"verdict_{decision}", verdict_id, link=page_url(f"/verdicts/{verdict_id}"))
    for deployment_id in automatic_rollbacks(ledger, now - LOOK_BACK):
        yield Message("rolled_back", deployment_id, assets=("served_models",))
    for what in list_changed_releases(ledger, now - LOOK_BACK):
        yield Message("changed_release", what, assets=("served_models",))
    quarantined = installation.stored("quarantined_corrections").rows(("state",))
    if any(row["state"] == PENDING for row in quarantined):
        yield Message(
            "quarantine", f"{now:%Y-%m-%d}", assets=("quarantined_corrections",), link=page_url("/quarantine")
        )
    yield from _drift_message(installation, now - LOOK_BACK)


def _drift_message(installation: Installation, since: datetime) -> Iterator[Message]:
    """A message about the newest window since then with drift.

    Sent even if a later window has no drift: that window may have ended while this server was down.
    """
    rows = installation.stored("production_drift").rows(("release_id", "window_end", "exceeds_threshold"))
    beyond = [row for row in rows if row["window_end"] >= since and row["exceeds_threshold"]]
    if beyond:
        newest = max(beyond, key=lambda row: row["window_end"])
        link = installation.settings.asset_url("production_drift")
        about = f"{newest['release_id']} {newest['window_end']:%Y-%m-%dT%H:%M}"
        yield Message("production_drift", about, assets=("production_drift",), link=link)
