"""Resources of all assets: the installation (settings, recipe, ledger, keys) and the worker for heavy work."""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from fine_tune_assets.core.errors import FineTuneError, summarize_exception
from fine_tune_assets.core.keys import SUBJECTS_KEY, read_or_create_key, require_key
from fine_tune_assets.core.line_names import name_line
from fine_tune_assets.core.paths import PROJECT_DIR, Layout
from fine_tune_assets.core.processes.fork_server import ForkServer, fork_server, reserve_server
from fine_tune_assets.core.processes.offline import OFFLINE_ENVIRONMENT
from fine_tune_assets.core.processes.parent import parent_environment
from fine_tune_assets.core.processes.worker import ERROR, PROGRESS_FILE, RESPONSE_FILE, RESULT, read_response
from fine_tune_assets.core.progress import Progress, RunningStep, progress_writer, publish_step
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.defs.platform.asset_keys import asset_name
from fine_tune_assets.defs.platform.catalogue import StoredAsset, stored_asset
from fine_tune_assets.defs.platform.dagster_compat.private_names import DagsterPipesExecutionError
from fine_tune_assets.defs.platform.parquet_io_manager import ParquetIOManager
from fine_tune_assets.defs.platform.ray_cluster import run_on_cluster
from fine_tune_assets.defs.platform.recipe_versions import recipe_tags
from fine_tune_assets.ledger.database import Ledger, open_ledger
from fine_tune_assets.ledger.reviews.erasures import list_erased_subjects
from fine_tune_assets.phi.spans.vocabulary import Vocabulary, load_vocabulary
from fine_tune_assets.recipes.domain_packs import LoadedPack, load_pack
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.recipes.schema import Recipe


class Installation(dg.ConfigurableResource):
    """Settings, recipe, ledger and keys of this installation."""

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Record the recipe that a run starts with, so that a failed run is repeated with a corrected one."""
        if context.run is not None and context.instance is not None:
            context.instance.add_run_tags(context.run.run_id, recipe_tags())

    @property
    def settings(self) -> Settings:
        return load_settings()

    @property
    def layout(self) -> Layout:
        return self.settings.layout

    def stored(self, asset: str) -> StoredAsset:
        """The stored table of an asset. Raises UndeclaredReadError inside a step whose asset does not declare it."""
        return stored_asset(self.layout, asset)

    def tables_folder(self, *assets: str) -> Path:
        """The folder of all tables, for code that opens the tables of these assets itself. Raises as `stored` does."""
        for asset in assets:
            self.stored(asset)
        return self.layout.tables

    @property
    def recipe(self) -> Recipe:
        return load_recipe(self.settings.recipe)

    @property
    def pack(self) -> LoadedPack:
        """The domain pack of the recipe."""
        return load_pack(self.recipe.domain)

    @property
    def vocabulary(self) -> Vocabulary:
        """The words and kinds of identifiers of the domain pack."""
        return load_vocabulary(self.recipe.domain)

    @property
    def subject_secret(self) -> bytes:
        """The secret that subject keys are derived with. Raises SettingsError if it is lost.

        A new secret would give known subjects a second key, so that one subject could be in both train and test.
        """
        folder = self.settings.subject_keys
        require_key(folder, SUBJECTS_KEY, self.layout.tables / "reports")
        return read_or_create_key(folder, SUBJECTS_KEY)

    def stored_path(self, path: str) -> str:
        """The form of a path in tables: relative if below the data folder, which may move."""
        absolute = Path(os.path.abspath(path))  # without resolving links: a product line links to shared folders
        return (
            str(absolute.relative_to(self.layout.data_dir)) if absolute.is_relative_to(self.layout.data_dir) else path
        )

    def path(self, stored: str) -> Path:
        """The absolute path for a path stored in a table."""
        return self.layout.data_dir / stored

    @contextmanager
    def ledger(self) -> Iterator[Ledger]:
        ledger = open_ledger(self.settings)
        try:
            yield ledger
        finally:
            ledger.close()

    @property
    def _scratch(self) -> Path:
        return self.layout.run / "scratch"

    def remove_stale_scratch(self, instance: dg.DagsterInstance) -> int:
        """Remove scratch folders of killed steps, which may contain raw text. Returns the number of runs."""
        count = 0
        for folder in self._scratch.glob("*"):
            run = instance.get_run_by_id(folder.name)
            if run is None or run.is_finished:
                shutil.rmtree(folder, ignore_errors=True)
                count += 1
        return count

    def erased_subjects(self) -> frozenset[str]:
        """Keys of the erased subjects."""
        with self.ledger() as ledger:
            return list_erased_subjects(ledger)

    @contextmanager
    def scratch(self, context: dg.AssetExecutionContext, *names: str) -> Iterator[list[Path]]:
        """Paths for tables that are exchanged with a worker; removed when the block ends."""
        own = self._scratch / context.run_id
        if not own.is_dir():
            self.remove_stale_scratch(context.instance)
        folder = own / context.op_execution_context.op.name
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        paths = [folder / f"{name}.parquet" for name in names]
        try:
            yield paths
        finally:
            for path in paths:
                path.unlink(missing_ok=True)


WORKER_PRELOADS = (
    "fine_tune_assets.training.lora.trainer",
    "fine_tune_assets.judging.evaluation.local_models",
    "fine_tune_assets.judging.judges.judge_registry",
    "fine_tune_assets.merging.exports",
    "fine_tune_assets.merging.merge",
    "fine_tune_assets.phi.measurement.recall",
    "fine_tune_assets.retrieval.retrieval_quality",
)
"""Modules that the fork server imports before it forks workers."""
INGEST_JOB = "ingest_batch"
"""The job that takes a batch to the instruction sets."""
SCRUBBING_PRELOADS = ("fine_tune_assets.phi.__main__", "fine_tune_assets.phi.recognizers.presidio_recognizers")
"""The same for a run whose workers only search for identifiers."""


class WorkerCrash(dg.Failure):
    """A worker ended without reporting a result or an error: usually killed because memory ran out."""


WORKER_KILLED = (
    "The worker was killed, or ended without a result, at every attempt. The usual cause is insufficient memory. For training: "
    "in the recipe, halve training.batch_size and double gradient_accumulation (the same steps, slower), lower max_length, or "
    "set gradient_checkpointing: true; `fine-tune plan RECIPE` shows the memory that a training needs. For judging: lower "
    "judge.batch_size. Or stop other programs that use memory on this machine."
)
_MAX_RETRIES = 2


class Worker(dg.ConfigurableResource):
    """Runs `python -m fine_tune_assets.<package>` with one request, streaming its log and its progress to the UI."""

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["Worker"]:
        """In a run of INGEST_JOB, two steps search for identifiers: import what they need once, while the batch is read."""
        if context.run is None or context.run.job_name != INGEST_JOB:
            yield self
            return
        with fork_server(SCRUBBING_PRELOADS, starts_early=True):
            yield self

    def run(self, context: dg.AssetExecutionContext, package: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Run a worker and return its result. A killed worker is restarted, at most twice.

        Raises dg.Failure with the worker's message, or with the type of an unexpected error only.
        """
        with retry_when_killed():
            return self.run_once(context, package, request)

    def run_once(
        self, context: dg.AssetExecutionContext, package: str, request: Mapping[str, Any], python: Path | None = None
    ) -> dict[str, Any]:
        """As `run`, without restarts. `python`: the interpreter of another environment."""
        module = f"fine_tune_assets.{package}"
        with tempfile.TemporaryDirectory(prefix="worker-") as folder, tracked_step(context) as running:
            response_file = Path(folder) / "answer.json"
            extras = {**request, RESPONSE_FILE: str(response_file), PROGRESS_FILE: str(running)}
            with reserve_server() as server:
                if server is None or python is not None or _is_unsloth(request):
                    _run_program(context, [str(python or sys.executable), "-m", module], extras)
                else:
                    _run_forked(context, server, module, extras)
            response = read_response(response_file)
        return self._result(package, response)

    def make_table(self, context: dg.AssetExecutionContext, package: str, request: Mapping[str, Any]) -> pa.Table:
        """Run a worker and return the table that it writes to the `output` of its request."""
        with Installation().scratch(context, "output") as (output,):
            self.run(context, package, {**request, "output": str(output)})
            return pq.read_table(output)

    def run_local_or_cluster(
        self, context: dg.AssetExecutionContext, package: str, request: Mapping[str, Any], python: Path | None = None
    ) -> dict[str, Any]:
        """As `run_once`, on the Ray cluster if one is configured. The cluster ignores `python`."""
        settings = load_settings()
        if not settings.ray.address:
            return self.run_once(context, package, request, python)
        with tracked_step(context):
            return self._result(package, run_on_cluster(context, package, request, settings))

    @staticmethod
    def _result(package: str, response: dict[str, Any] | None) -> dict[str, Any]:
        if response is None:
            raise WorkerCrash(f"The worker {package} ended without a result. Its log is above.")
        if ERROR in response:
            raise dg.Failure(f"{response['type']}: {response[ERROR]}", allow_retries=False)
        return dict(response[RESULT])


def _is_unsloth(request: Mapping[str, Any]) -> bool:
    """Unsloth patches other libraries on import, so it can't run in a forked worker that has already imported them."""
    return bool((request.get("settings") or {}).get("engine") == "unsloth")


def _run_program(context: dg.AssetExecutionContext, command: Sequence[str], extras: dict[str, Any]) -> None:
    environment = {**OFFLINE_ENVIRONMENT, **parent_environment()}
    client = dg.PipesSubprocessClient(cwd=str(PROJECT_DIR), env=environment)
    client.run(context=context, command=command, extras=extras)


def _run_forked(context: dg.AssetExecutionContext, server: ForkServer, module: str, extras: dict[str, Any]) -> None:
    """Run a forked worker in a Pipes session, like PipesSubprocessClient."""
    injector, reader = dg.PipesTempFileContextInjector(), dg.PipesTempFileMessageReader()
    with dg.open_pipes_session(context, injector, reader, extras) as session:
        code = server.run(module, {**os.environ, **OFFLINE_ENVIRONMENT, **session.get_bootstrap_env_vars()})
        if code:
            raise DagsterPipesExecutionError(f"The worker {module} exited with status {code}.")


@contextmanager
def tracked_step(context: dg.AssetExecutionContext) -> Iterator[Path]:
    """Show the step on the desk's first page while the block runs. Yields the step's file."""
    keys = sorted(context.selected_asset_keys)
    groups = {spec.group_name for spec in context.assets_def.specs if spec.key in keys}
    step = RunningStep(
        stage=min((name for name in groups if name), default=""),
        assets=tuple(map(asset_name, keys)),
        partition=context.partition_key if context.has_partition_key else None,
        started_at=time.time(),
    )
    with publish_step(load_settings().layout.running_steps, step) as file:
        yield file


@contextmanager
def tracked_progress(context: dg.AssetExecutionContext) -> Iterator[Progress]:
    """Progress of a step that runs in this process: to its log and to the desk's first page."""
    with tracked_step(context) as file:
        write = progress_writer(file)

        def report(done: int, total: int, what: str) -> None:
            context.log.info(f"{done} of {total} {what}")
            write(done, total, what)

        yield report


@contextmanager
def user_facing_errors() -> Iterator[None]:
    """Turn errors into dg.Failure without retries: expected ones with their message, others with their type only.

    Retries that the step requests pass through.
    """
    try:
        yield
    except FineTuneError as error:
        raise dg.Failure(f"{type(error).__name__}: {error}", allow_retries=False) from None
    except (dg.Failure, dg.RetryRequested):
        raise
    except Exception as error:  # noqa: BLE001 (the message of any error may quote a report)
        raise dg.Failure(summarize_exception(error), allow_retries=False) from None


@contextmanager
def retry_when_killed() -> Iterator[None]:
    """Restart a step whose worker was killed, at most twice. A trainer resumes from its last checkpoint.

    Errors that a worker reports are not retried. After the last attempt the error explains the usual cause.

    This is not a RetryPolicy: Dagster applies those to cancelled steps too (1.13.27, `op_execution_error_boundary`), so a
    cancelled training would run concurrently with the next one.
    """
    try:
        yield
    except (DagsterPipesExecutionError, dg.Failure) as error:
        if isinstance(error, dg.Failure) and not error.allow_retries:
            raise
        was_killed = isinstance(error, DagsterPipesExecutionError | WorkerCrash)
        if was_killed and dg.AssetExecutionContext.get().op_execution_context.retry_number >= _MAX_RETRIES:
            raise dg.Failure(name_line(WORKER_KILLED), allow_retries=False) from error
        raise dg.RetryRequested(max_retries=_MAX_RETRIES, seconds_to_wait=5) from error


@dg.io_manager
def parquet_io_manager(_context: dg.InitResourceContext) -> ParquetIOManager:
    return ParquetIOManager(UPath(load_settings().layout.tables), Installation().erased_subjects)
