"""What assets work with: the installation (settings, recipe, ledger, keys) and the worker that runs heavy work.

Must not hold: anything about one stage.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
from dagster._core.errors import DagsterPipesExecutionError
from upath import UPath

from fine_tune_assets.core.errors import FineTuneError, without_message
from fine_tune_assets.core.keys import PATIENTS_KEY, read_or_create_key, require_key
from fine_tune_assets.core.paths import PROJECT_DIR, Layout
from fine_tune_assets.core.processes.fork_server import ForkServer, idle_server
from fine_tune_assets.core.processes.offline import OFFLINE_ENVIRONMENT
from fine_tune_assets.core.processes.parent import parent_variable
from fine_tune_assets.core.processes.worker import ANSWER_FILE, ERROR, RESULT, RUNNING_FILE, read_answer
from fine_tune_assets.core.progress import Progress, RunningStep, reports_into, shown_running
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.defs.platform.catalogue import StoredAsset, stored_asset
from fine_tune_assets.defs.platform.io import ParquetTables
from fine_tune_assets.defs.platform.ray_cluster import answer_from_cluster
from fine_tune_assets.ledger.database import Ledger, open_ledger
from fine_tune_assets.ledger.encryption import KEY_NAME
from fine_tune_assets.ledger.reviews.erasures import erased_patients
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.recipes.schema import Recipe


class Installation(dg.ConfigurableResource):
    """This installation: its settings, its recipe, its ledger and its keys."""

    @property
    def settings(self) -> Settings:
        return load_settings()

    @property
    def layout(self) -> Layout:
        return self.settings.layout

    def stored(self, asset: str) -> StoredAsset:
        """The stored table of an asset. Raises UndeclaredReadError inside a step whose asset does not declare it."""
        return stored_asset(self.layout, asset)

    def tables_with(self, *assets: str) -> Path:
        """The folder of all tables, for code that opens those of these assets itself. Raises as `stored` does."""
        for asset in assets:
            self.stored(asset)
        return self.layout.tables

    @property
    def recipe(self) -> Recipe:
        return load_recipe(self.settings.recipe)

    @property
    def patient_secret(self) -> bytes:
        """What patients' keys are made with. Raises SettingsError if it is lost.

        With another one, a patient of the tables that are there would get a second key, and could be in train and in test.
        """
        require_key(self.layout.keys, PATIENTS_KEY, self.layout.tables / "reports")
        return read_or_create_key(self.layout.keys, PATIENTS_KEY)

    @property
    def corrections_key(self) -> bytes:
        return read_or_create_key(self.layout.keys, KEY_NAME)

    def stored_path(self, path: str) -> str:
        """How a path is kept in a table: relative where it lies below the data folder, which may move."""
        absolute = Path(path).resolve()
        return (
            str(absolute.relative_to(self.layout.data_dir)) if absolute.is_relative_to(self.layout.data_dir) else path
        )

    def path(self, stored: str) -> Path:
        """The path that a table holds."""
        return self.layout.data_dir / stored

    @contextmanager
    def ledger(self) -> Iterator[Ledger]:
        ledger = open_ledger(self.settings.database_url)
        try:
            yield ledger
        finally:
            ledger.close()

    @property
    def _scratch(self) -> Path:
        return self.layout.run / "scratch"

    def remove_left_scratch(self, instance: dg.DagsterInstance) -> int:
        """Remove what steps left that were killed: it may be raw text. How many runs' it was."""
        count = 0
        for left in self._scratch.glob("*"):
            run = instance.get_run_by_id(left.name)
            if run is None or run.is_finished:
                shutil.rmtree(left, ignore_errors=True)
                count += 1
        return count

    def erased_patients(self) -> frozenset[str]:
        """Keys of the patients of whom nothing may be read, stored or learned."""
        with self.ledger() as ledger:
            return erased_patients(ledger)

    @contextmanager
    def scratch(self, context: dg.AssetExecutionContext, *names: str) -> Iterator[list[Path]]:
        """Paths for tables on their way to or from a worker, which are gone when the block ends."""
        own = self._scratch / context.run_id
        if not own.is_dir():
            self.remove_left_scratch(context.instance)
        folder = own / context.op_execution_context.op.name
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        paths = [folder / f"{name}.parquet" for name in names]
        try:
            yield paths
        finally:
            for path in paths:
                path.unlink(missing_ok=True)


WORKERS_IMPORT = (
    "fine_tune_assets.training.lora.trainer",
    "fine_tune_assets.judging.contestants.local_models",
    "fine_tune_assets.judging.judges.registry",
    "fine_tune_assets.merging.exports",
    "fine_tune_assets.merging.merge",
    "fine_tune_assets.phi.measurement.recall",
    "fine_tune_assets.retrieval.retrieval_quality",
)
"""What a fork server imports for them."""


class WorkerRefusal(dg.Failure):
    """What a worker said instead of a result: the kind of its error, and its words for people."""

    def __init__(self, kind: str, said: str) -> None:
        super().__init__(f"{kind}: {said}", allow_retries=False)
        self.kind, self.said = kind, said


class WorkerDied(dg.Failure):
    """A worker ended without a word: killed, most often for want of memory."""


KILLED = (
    "The worker was killed or ended without a word, each time that it was started: most often for want of memory. If it was "
    "training: in the recipe halve training.batch_size and double gradient_accumulation (the same steps, slower), lower "
    "max_length, or set gradient_checkpointing: true; `fine-tune plan RECIPE` says what a training takes. If it was judging: "
    "lower judge.batch_size. Or stop what else needs memory here."
)
_RETRIES = 2


class Worker(dg.ConfigurableResource):
    """Runs `python -m fine_tune_assets.<package>` with one request, streaming its log and its progress to the UI."""

    def run(self, context: dg.AssetExecutionContext, package: str, request: dict[str, Any]) -> dict[str, Any]:
        """The worker's result; one that was killed is started again, twice. Raises dg.Failure with the worker's own words, or
        with the kind of error only."""
        with started_again_when_killed():
            return self.run_once(context, package, request)

    def run_once(
        self, context: dg.AssetExecutionContext, package: str, request: dict[str, Any], python: Path | None = None
    ) -> dict[str, Any]:
        """As `run`, for who sees to a worker's end themselves.

        `python`: the interpreter of another environment than this one.
        """
        module = f"fine_tune_assets.{package}"
        with tempfile.TemporaryDirectory(prefix="worker-") as folder, step_shown(context) as running:
            file = Path(folder) / "answer.json"
            extras = {**request, ANSWER_FILE: str(file), RUNNING_FILE: str(running)}
            with idle_server() as server:
                if server is None or python is not None or _is_unsloth(request):
                    _run_program(context, [str(python or sys.executable), "-m", module], extras)
                else:
                    _run_forked(context, server, module, extras)
            answer = read_answer(file)
        return self._result(package, answer)

    def make_table(self, context: dg.AssetExecutionContext, package: str, request: dict[str, Any]) -> pa.Table:
        """What the worker writes to the `output` of its request."""
        with Installation().scratch(context, "output") as (output,):
            self.run(context, package, {**request, "output": str(output)})
            return pq.read_table(output)

    def run_where_set(
        self, context: dg.AssetExecutionContext, package: str, request: dict[str, Any], python: Path | None = None
    ) -> dict[str, Any]:
        """As `run_once`, on the Ray cluster if the settings name one: with the interpreter of its nodes."""
        settings = load_settings()
        if not settings.ray.address:
            return self.run_once(context, package, request, python)
        with step_shown(context):
            return self._result(package, answer_from_cluster(context, package, request, settings))

    @staticmethod
    def _result(package: str, answer: dict[str, Any] | None) -> dict[str, Any]:
        if answer is None:
            raise WorkerDied(f"The worker {package} ended without a result. Its log is above.")
        if ERROR in answer:
            raise WorkerRefusal(answer["type"], answer[ERROR])
        return dict(answer[RESULT])


def _is_unsloth(request: dict[str, Any]) -> bool:
    """It changes other libraries while they are imported, so it must come first."""
    return bool((request.get("settings") or {}).get("engine") == "unsloth")


def _run_program(context: dg.AssetExecutionContext, command: Sequence[str], extras: dict[str, Any]) -> None:
    environment = {**OFFLINE_ENVIRONMENT, **parent_variable()}
    client = dg.PipesSubprocessClient(cwd=str(PROJECT_DIR), env=environment)
    client.run(context=context, command=command, extras=extras)


def _run_forked(context: dg.AssetExecutionContext, server: ForkServer, module: str, extras: dict[str, Any]) -> None:
    """As Dagster's own client runs a program."""
    injector, reader = dg.PipesTempFileContextInjector(), dg.PipesTempFileMessageReader()
    with dg.open_pipes_session(context, injector, reader, extras) as session:
        code = server.run(module, {**os.environ, **OFFLINE_ENVIRONMENT, **session.get_bootstrap_env_vars()})
        if code:
            raise DagsterPipesExecutionError(f"The worker {module} ended with code {code}.")


@contextmanager
def step_shown(context: dg.AssetExecutionContext) -> Iterator[Path]:
    """The desk's first page shows the step while the block runs. Yields the step's file."""
    keys = sorted(context.selected_asset_keys)
    groups = {spec.group_name for spec in context.assets_def.specs if spec.key in keys}
    step = RunningStep(
        stage=min((name for name in groups if name), default=""),
        assets=tuple(key.to_user_string() for key in keys),
        partition=context.partition_key if context.has_partition_key else None,
        started_at=time.time(),
    )
    with shown_running(load_settings().layout.running_steps, step) as file:
        yield file


@contextmanager
def progress_shown(context: dg.AssetExecutionContext) -> Iterator[Progress]:
    """Progress of a step that works in its own process: into its log, and onto the desk's first page."""
    with step_shown(context) as file:
        write = reports_into(file)

        def report(done: int, total: int, what: str) -> None:
            context.log.info(f"{done} of {total} {what}")
            write(done, total, what)

        yield report


@contextmanager
def errors_for_people() -> Iterator[None]:
    """An expected error ends the step with its own words, any other without its message; neither is retried.

    A retry that the step itself asks for goes through.
    """
    try:
        yield
    except FineTuneError as error:
        raise dg.Failure(f"{type(error).__name__}: {error}", allow_retries=False) from None
    except (dg.Failure, dg.RetryRequested):
        raise
    except Exception as error:  # noqa: BLE001 (whatever goes wrong, its message may quote a report)
        raise dg.Failure(without_message(error), allow_retries=False) from None


@contextmanager
def started_again_when_killed() -> Iterator[None]:
    """A step whose worker was killed is started again, twice: a trainer goes on from its last checkpoint. What a worker says
    itself is not tried again. The last one's end is told in words: Dagster's own name a code.

    Not a RetryPolicy: Dagster applies one to a step that is cancelled or stopped too (1.13.27, `op_execution_error_boundary`),
    and a cancelled training went on, beside the next one.
    """
    try:
        yield
    except (DagsterPipesExecutionError, dg.Failure) as error:
        if isinstance(error, dg.Failure) and not error.allow_retries:
            raise
        was_killed = isinstance(error, DagsterPipesExecutionError | WorkerDied)
        if was_killed and dg.AssetExecutionContext.get().op_execution_context.retry_number >= _RETRIES:
            raise dg.Failure(KILLED, allow_retries=False) from error
        raise dg.RetryRequested(max_retries=_RETRIES, seconds_to_wait=5) from error


@dg.io_manager
def parquet_tables(_context: dg.InitResourceContext) -> ParquetTables:
    return ParquetTables(UPath(load_settings().layout.tables), Installation().erased_patients)
