"""Telling people what happened while nobody looked: failed runs, candidates on hold, rollbacks, a quarantine that waits.

Belongs here: noticing. Must stay out: how a message is sent (see `notifying/`). Nothing is sent unless the settings name a
webhook or a mail server, and what fails in sending fails nothing else.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pyarrow.parquet as pq

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.defs.resources import Installation
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.happenings import left_by_themselves, stopped_candidates
from fine_tune_assets.notifying.messages import Message, kind_of_error
from fine_tune_assets.notifying.sending import channels, notify

LOOK_BACK = timedelta(days=1)
"""Older news are none: who turns notifications on is not told of last year."""


@dg.run_failure_sensor(
    name="failed_run_told",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    monitor_all_code_locations=False,
    description="Tells people by webhook and mail that a run failed: its id, assets and kind of error, never a text.",
)
def failed_run_told(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
    settings = load_settings()
    if not channels(settings):
        return dg.SkipReason("The settings name nobody to tell.")
    failures = context.get_step_failure_events()
    kinds = [kind_of_error(f.step_failure_data.error.message) for f in failures if f.step_failure_data.error]
    run_id = context.dagster_run.run_id
    _tell(
        context,
        settings,
        [
            Message(
                "run_failed",
                run_id,
                assets=tuple(sorted({f.step_key for f in failures if f.step_key})),
                error_kind=", ".join(dict.fromkeys(kind for kind in kinds if kind)),
                link=f"{settings.dagster_address}/runs/{run_id}",
            )
        ],
    )
    return None


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells people by webhook and mail of candidates on hold or refused, rollbacks, and a quarantine that waits.",
)
def news_told(context: dg.SensorEvaluationContext, installation: Installation) -> dg.SkipReason:
    settings = installation.settings
    if not channels(settings):
        return dg.SkipReason("The settings name nobody to tell.")
    with installation.ledger() as ledger:
        told = _tell(context, settings, news(installation, ledger, datetime.now(UTC)))
    return dg.SkipReason(f"{told} messages were sent." if told else "Nothing new to tell.")


def news(installation: Installation, ledger: Ledger, now: datetime) -> Iterator[Message]:
    """What happened in the last day; who was told of it is not asked here."""
    desk = installation.settings.desk_address
    for decision, verdict_id in stopped_candidates(ledger, now - LOOK_BACK):
        yield Message(f"verdict_{decision}", verdict_id, link=f"{desk}/verdicts/{verdict_id}")
    for deployment_id in left_by_themselves(ledger, now - LOOK_BACK):
        yield Message("rolled_back", deployment_id, assets=("served_models",))
    path = installation.layout.table("quarantined_corrections")
    states = pq.read_table(path, columns=["state"]).column(0).to_pylist() if path.is_file() else []
    if "waiting" in states:
        yield Message("quarantine", f"{now:%Y-%m-%d}", assets=("quarantined_corrections",), link=f"{desk}/quarantine")
    yield from _drifted(installation)


def _drifted(installation: Installation) -> Iterator[Message]:
    """Once a window: of the newest one."""
    path = installation.layout.table("production_drift")
    columns = ["release_id", "window_end", "is_beyond"]
    rows = pq.read_table(path, columns=columns).to_pylist() if path.is_file() else []
    newest = max((row["window_end"] for row in rows), default=None)
    beyond = [row for row in rows if row["window_end"] == newest and row["is_beyond"]]
    if beyond:
        link = f"{installation.settings.dagster_address}/assets/production_drift"
        about = f"{beyond[0]['release_id']} {newest:%Y-%m-%dT%H:%M}"
        yield Message("production_drift", about, assets=("production_drift",), link=link)


def _tell(
    context: dg.SensorEvaluationContext | dg.RunFailureSensorContext,
    settings: Settings,
    messages: Iterator[Message] | list[Message],
) -> int:
    """How many were sent."""
    sent = 0
    try:
        with Installation().ledger() as ledger:
            for message in messages:
                for channel, error in notify(settings, ledger, message, datetime.now(UTC)).items():
                    sent += error is None
                    if error is not None:
                        context.log.warning(f"{channel} could not be told of {message.event} {message.about}: {error}.")
    except FineTuneError as error:
        context.log.error(str(error))
    return sent
