"""Fixtures shared by several packages: a ledger, a small installation, and a real PostgreSQL server.

Owns the small installation: its folders, its recipe, and dropping batches into it. The sample in `data/` is the input.
"""

import csv
import gc
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import alembic.util
import dagster as dg
import hypothesis
import pytest
import yaml
from argon2 import PasswordHasher

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.processes.fork_server import fork_server
from fine_tune_assets.core.processes.offline import OFFLINE_ENVIRONMENT
from fine_tune_assets.core.settings import PREFIX, Settings
from fine_tune_assets.defs.platform.resources import WORKER_PRELOADS
from fine_tune_assets.ledger.database import Ledger
from fine_tune_assets.ledger.people import passwords
from fine_tune_assets.recipes.loader import load_recipe, shipped_recipes
from fine_tune_assets_tests.base_model import smollm2, smollm2_tokenizer
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger
from fine_tune_assets_tests.postgres import postgres_server
from fine_tune_assets_tests.system_programs import pytest_terminal_summary
from fine_tune_assets_tests.training.forked_trainings import trainings

__all__ = [
    "postgres_server",
    "pytest_ignore_collect",
    "pytest_terminal_summary",
    "smollm2",
    "smollm2_tokenizer",
    "trainings",
]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `-m "slow …"` or `-m "long …"`, don't import files without such a test, which takes 10 s per worker."""
    wanted = str(config.getoption("markexpr")).split(" ")[0]
    is_test = collection_path.name.startswith("test_") and collection_path.suffix == ".py"
    if wanted not in ("slow", "long") or not is_test:
        return None
    return None if f"mark.{wanted}" in collection_path.read_text(encoding="utf-8") else True


# Tests have no deadlines: a first call that imports modules would sometimes exceed one.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# With Python's default thresholds, garbage collection of a million objects of imported modules takes a third of the time.
gc.set_threshold(50_000, 20, 20)

# A script that starts the tests in the background ignores SIGINT, and every child process of a test would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SAMPLE = PROJECT_DIR / "data"
DIALOGUES = SAMPLE / "raw_reports" / "2026-02-dialogues"
LABELLED_ROWS = 6
"""Documents per labelled set."""
SMALL_SPLIT = {"validation_fraction": 0.25, "test_fraction": 0.25, "minimum_examples": 6}
COMPLAINT_TASKS = (
    {
        "name": "chief_complaint",
        "instruction": "Name the chief complaint of this visit in a few words.",
        "input_sections": ["HISTORY OF PRESENT ILLNESS"],
        "output_section": "CHIEF COMPLAINT",
    },
    {
        "name": "presenting_complaint",
        "instruction": "Name the presenting complaint of this consultation in a few words.",
        "input_sections": ["NOTE"],
        "output_section": "PRESENTING COMPLAINT",
    },
)
"""Tasks on notes, whose drafts wait for a reviewer."""
SMALL_GATE = {
    "minimum_examples": 1,
    "minimum_group_examples": 1,
    "untested_tasks": {str(task["name"]): "Not tested here." for task in COMPLAINT_TASKS},
}


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Objects created by the collection live until the end, so they are exempt from garbage collection."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def forked_workers() -> Iterator[None]:
    """Fork workers like a run of the graph, so that not each one imports torch. Services and the daemon start new workers."""
    with fork_server(WORKER_PRELOADS):
        yield


@pytest.fixture(scope="session", autouse=True)
def migrations_read_once() -> Iterator[None]:
    """Cache migrations: Alembic loads all of them for each new database, and Dagster creates one per run, which takes 60 ms."""
    load = alembic.util.load_python_file
    cached = cache(load)

    def load_python_file(folder: str, name: str) -> ModuleType:
        return (
            load(folder, name) if name == "env.py" else cached(folder, name)
        )  # env.py runs the migrations, so it must execute each time

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alembic.util, "load_python_file", load_python_file)
        yield


@pytest.fixture(scope="session", autouse=True)
def shipped_hasher() -> Iterator[PasswordHasher]:
    """The hasher as it is shipped. Tests create a thousand users, so the one that they use is quick: it takes 8 kB, once."""
    shipped = passwords._HASHER
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        yield shipped


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder for engines' sockets: Linux limits a socket's path to 107 bytes, and a line's folder lies deep."""
    with tempfile.TemporaryDirectory(prefix="short-") as folder:
        yield Path(folder)


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    """A new ledger with the settings of the module or its folder."""
    opened = fresh_ledger(settings)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def dagster_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Dagster home with empty storages to copy, because the migrations take a third of a second."""
    home = tmp_path_factory.mktemp("dagster-home")
    shutil.copy(PROJECT_DIR / "dagster.yaml", home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home))
        with dg.DagsterInstance.get() as opened:
            opened.get_asset_keys()
            opened.all_instigator_state()
    return home


@pytest.fixture
def installation_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dagster_home: Path) -> Path:
    return create_installation(tmp_path, monkeypatch, dagster_home)


def create_installation(folder: Path, monkeypatch: pytest.MonkeyPatch, dagster_home: Path) -> Path:
    """The data folder of a small installation without batches; the environment points to it, its recipe and its Dagster home."""
    data, home = folder / "data", folder / "dagster"
    for made in (data / "raw_reports", data / "keys"):
        made.mkdir(parents=True, mode=0o700)
    fresh_ledger(Settings(data_dir=data)).close()
    shutil.copytree(dagster_home, home)
    shutil.copytree(SAMPLE / "general", data / "general")
    shutil.copytree(SAMPLE / "evaluation", data / "evaluation")
    for labelled in (data / "evaluation" / "phi").glob("*.jsonl"):
        _keep_lines(labelled, LABELLED_ROWS)
    # A fixed key: it determines the splits of the subjects, and with a random key a split would sometimes be empty.
    (data / "keys" / "subjects.key").write_bytes(b"k" * 32)
    (data / "keys" / "subjects.key").chmod(0o600)
    for name in [n for n in os.environ if n.startswith((PREFIX, "DAGSTER_"))]:
        monkeypatch.delenv(name)
    environment = {"DATA_DIR": data, "RECIPE": write_recipe(data), "DAGSTER_HOME": home, "THREADS": 2}
    for name, value in environment.items():
        monkeypatch.setenv(PREFIX + name, str(value))
    for name, text in {**OFFLINE_ENVIRONMENT, "DAGSTER_HOME": str(home)}.items():
        monkeypatch.setenv(name, text)
    return data


@pytest.fixture
def instance(installation_dir: Path) -> Iterator[dg.DagsterInstance]:  # noqa: ARG001
    """The real Dagster instance of the small installation."""
    with dg.DagsterInstance.get() as opened:
        yield opened


def write_recipe(data: Path, **changes: Any) -> Path:
    """Write the installation's recipe: the demo's with COMPLAINT_TASKS for a few reports, and with `changes` to its sections."""
    values = yaml.safe_load(shipped_recipes()["demo_smollm2"].read_text(encoding="utf-8"))
    values["tasks"] += COMPLAINT_TASKS
    for section, changed in [("split", SMALL_SPLIT), ("gate", SMALL_GATE), *changes.items()]:
        values[section] = {**values.get(section, {}), **changed} if isinstance(changed, Mapping) else changed
    names = {task["name"] for task in values["tasks"]}
    values["gate"]["untested_tasks"] = {
        task: why for task, why in values["gate"]["untested_tasks"].items() if task in names
    }
    path = data / "recipe.yaml"
    replace_file(path, yaml.safe_dump(values).encode())
    return path


def _dialogues(first: int, count: int) -> tuple[list[str], list[list[str]]]:
    """The header and `count` rows of the sample's dialogues from number `first` on."""
    with (DIALOGUES / "visits.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    chosen = rows[first : first + count]
    assert len(chosen) == count, "The sample has fewer dialogues."
    return header, chosen


def count_of_examples(first: int, count: int) -> int:
    """How many of these dialogues become examples with the demo's recipe: only some sections are labels."""
    header, rows = _dialogues(first, count)
    labels = load_recipe("demo_smollm2").tasks[0].labels
    return sum(row[header.index("section_name")] in labels for row in rows)


def drop_dialogues(data: Path, batch: str, first: int, count: int, edit: Callable[[str], str] = str) -> Path:
    """Add a batch of `count` of the sample's dialogues, from number `first` on, in one atomic step."""
    header, chosen = _dialogues(first, count)
    folder = data / "raw_reports" / f"{batch}.partial"
    folder.mkdir()
    shutil.copy(DIALOGUES / "batch.yaml", folder)
    with (folder / "visits.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *([edit(cell) for cell in row] for row in chosen)])
    return folder.rename(data / "raw_reports" / batch)


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file atomically, as an editor does."""
    aside = path.with_name(f".{path.name}.new")
    aside.write_bytes(content)
    aside.rename(path)


def _keep_lines(path: Path, count: int) -> None:
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:count]), encoding="utf-8")
