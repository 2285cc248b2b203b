"""Watches the drop folder of data sets. The import runs as a job, since a million rows take longer than a sensor may."""

import dagster as dg

from fine_tune_assets.defs.dropped_datasets import import_incoming, list_incoming
from fine_tune_assets.defs.platform.asset_keys import line_tags
from fine_tune_assets.defs.platform.kept_instance import kept_instance
from fine_tune_assets.defs.platform.resources import Installation

MAX_ATTEMPTS = 3
"""Runs for the same files, of which the earlier ones were killed or found a full disk."""
_VERSION_TAG = "fine_tune/dropped_datasets"


@dg.op(description="Imports every data set of the drop folder, or moves it to quarantine with the reason.")
def import_datasets(context: dg.OpExecutionContext, installation: Installation) -> None:
    outcomes = import_incoming(installation.layout)
    for one in outcomes:
        context.log.info(f"{one.name}: {'in quarantine' if one.rows is None else f'{one.rows} rows imported'}")
    faulty = [one for one in outcomes if one.rows is None]
    if faulty:
        places = ", ".join(f"data/datasets/quarantine/{one.moved_to.name}" for one in faulty)
        raise dg.Failure(
            f"{len(faulty)} data sets are in quarantine. reason.txt states why: {places}", allow_retries=False
        )


@dg.job(description="Imports the data sets in `data/datasets/incoming`.")
def import_dropped_datasets() -> None:
    import_datasets()


@dg.sensor(
    job=import_dropped_datasets,
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Detects data sets in `data/datasets/incoming`, and starts `import_dropped_datasets`.",
)
def dataset_drop_sensor(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    installation = Installation()
    incoming = list_incoming(installation.layout)
    waiting = f" {incoming.waiting} wait for a YAML file next to them." if incoming.waiting else ""
    if not incoming.ready:
        return dg.SkipReason(f"No data set is ready.{waiting}")
    version = f"{installation.settings.line}{incoming.version}"
    attempts = kept_instance(context).get_runs_count(
        dg.RunsFilter(job_name=import_dropped_datasets.name, tags={_VERSION_TAG: version})
    )
    if attempts >= MAX_ATTEMPTS:
        return dg.SkipReason(
            f"{attempts} imports of these files failed. See their runs, then drop the files again.{waiting}"
        )
    return dg.RunRequest(run_key=f"{version}/{attempts}", tags={_VERSION_TAG: version, **line_tags()})
