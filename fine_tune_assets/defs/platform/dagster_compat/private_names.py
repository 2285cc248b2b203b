"""The private names of Dagster that this package uses, except in `webserver` and `code_server`. Nothing of Dagster is patched.

`make test-dagster-latest` runs their tests against the newest release of the tested minor version.

| name | reason |
| --- | --- |
| `DefaultRunLauncher`, `LaunchRunContext`, `CheckRunHealthResult`, `WorkerStatus`, `EngineEventData` | the default launcher never notices that the process of a run is gone; Dagster documents no public base class |
| `DagsterPipesExecutionError` | raised by the public `PipesSubprocessClient` when its process fails |
| `SensorExecutionData` | return type of the public `evaluate_tick`; the only way for a sensor of conditions to skip a tick |
| `AssetCheckExecutionRecordStatus` | status in a record of the public `get_latest_asset_check_execution_by_key` |
"""  # noqa: E501

from dagster._core.definitions.sensor_definition import SensorExecutionData
from dagster._core.errors import DagsterPipesExecutionError
from dagster._core.events import EngineEventData
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, WorkerStatus
from dagster._core.launcher.base import LaunchRunContext
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

__all__ = [
    "AssetCheckExecutionRecordStatus",
    "CheckRunHealthResult",
    "DagsterPipesExecutionError",
    "DefaultRunLauncher",
    "EngineEventData",
    "LaunchRunContext",
    "SensorExecutionData",
    "WorkerStatus",
]
