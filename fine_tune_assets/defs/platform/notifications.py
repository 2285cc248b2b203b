"""Telling people what happened while nobody looked: failed runs, candidates on hold, rollbacks, a quarantine that waits.

Belongs here: noticing. Must stay out: how a message is sent (see `notifications/`). Nothing is sent unless the settings name a
webhook or a mail server, and what fails in sending fails nothing else.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._utils.error import SerializableErrorInfo

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.corrections.quarantine import WAITING
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.notifications import left_by_themselves, stopped_candidates
from fine_tune_assets.notifications.delivery import channels, is_untold, notify
from fine_tune_assets.notifications.messages import Message, kind_of_error

_WILL_RETRY = "dagster/will_retry"
LOOK_BACK = timedelta(days=1)
"""Older news are none: who turns notifications on is not told of last year."""
SETTLING = timedelta(seconds=20)
"""Dagster says of a failed run that it will be retried only after it said that it failed."""


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells by webhook and mail of failed runs, candidates on hold, rollbacks, drift, and a quarantine that waits.",
)
def news_told(context: dg.SensorEvaluationContext, installation: Installation) -> dg.SkipReason:
    settings = installation.settings
    if not channels(settings):
        return dg.SkipReason("The settings name nobody to tell.")
    now = datetime.now(UTC)
    told = 0
    try:
        with installation.ledger() as ledger:
            for message in [*failed_runs(context.instance, settings, ledger, now), *news(installation, ledger, now)]:
                for channel, error in notify(settings, ledger, message, now).items():
                    told += error is None
                    if error is not None:
                        context.log.warning(f"{channel} could not be told of {message.event} {message.about}: {error}.")
    except FineTuneError as error:
        context.log.error(str(error))
    return dg.SkipReason(f"{told} messages were sent." if told else "Nothing new to tell.")


def failed_runs(instance: dg.DagsterInstance, settings: Settings, ledger: Ledger, now: datetime) -> Iterator[Message]:
    """Runs of the last day that failed and are not retried, less those whose message was sent or is not due."""
    lately = dg.RunsFilter(
        statuses=[dg.DagsterRunStatus.FAILURE], updated_after=now - LOOK_BACK, updated_before=now - SETTLING
    )
    for record in instance.get_run_records(lately):
        run = record.dagster_run
        is_retried = run.tags.get(_WILL_RETRY) == "true"
        if is_retried or not is_untold(settings, ledger, "run_failed", run.run_id, now):
            continue
        events = [log.dagster_event for log in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)]
        failures = [event for event in events if event is not None and event.step_key]
        kinds = [_kind(event.step_failure_data.error) for event in failures]
        yield Message(
            "run_failed",
            run.run_id,
            assets=tuple(sorted({event.step_key for event in failures if event.step_key})),
            error_kind=", ".join(dict.fromkeys(kind for kind in kinds if kind)),
            link=f"{settings.dagster_address}/runs/{run.run_id}",
        )


def _kind(error: SerializableErrorInfo | None) -> str:
    """Of what went wrong first: Dagster puts an error of its own around one that it did not expect."""
    while error is not None and error.cause is not None:
        error = error.cause
    return kind_of_error(error.message) if error else ""


def news(installation: Installation, ledger: Ledger, now: datetime) -> Iterator[Message]:
    """What happened in the last day; who was told of it is not asked here."""
    desk = installation.settings.desk_address
    for decision, verdict_id in stopped_candidates(ledger, now - LOOK_BACK):
        yield Message(f"verdict_{decision}", verdict_id, link=f"{desk}/verdicts/{verdict_id}")
    for deployment_id in left_by_themselves(ledger, now - LOOK_BACK):
        yield Message("rolled_back", deployment_id, assets=("served_models",))
    quarantined = installation.stored("quarantined_corrections").rows(("state",))
    if any(row["state"] == WAITING for row in quarantined):
        yield Message("quarantine", f"{now:%Y-%m-%d}", assets=("quarantined_corrections",), link=f"{desk}/quarantine")
    yield from _drifted(installation, now - LOOK_BACK)


def _drifted(installation: Installation, since: datetime) -> Iterator[Message]:
    """Once a window: of the newest one that was beyond a limit, if it ended since then.

    Also when requests were as trained after it: while a server was away, the next window may have come.
    """
    rows = installation.stored("production_drift").rows(("release_id", "window_end", "is_beyond"))
    beyond = [row for row in rows if row["window_end"] >= since and row["is_beyond"]]
    if beyond:
        newest = max(beyond, key=lambda row: row["window_end"])
        link = f"{installation.settings.dagster_address}/assets/production_drift"
        about = f"{newest['release_id']} {newest['window_end']:%Y-%m-%dT%H:%M}"
        yield Message("production_drift", about, assets=("production_drift",), link=link)
