"""Settings: environment before file before default, and every fault named."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fine_tune_assets.core.errors import SettingsError
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.settings import OFFLINE_ENVIRONMENT, PREFIX, SETTINGS_FILE, Settings, load_settings


def settings_file(folder: Path, text: str) -> dict[str, str]:
    path = folder / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return {SETTINGS_FILE: str(path)}


def test_without_environment_and_file_the_defaults_hold() -> None:
    """`make demo` needs no configuration."""
    assert load_settings({}) == Settings()


def test_the_environment_beats_the_file_and_the_file_beats_the_default(tmp_path: Path) -> None:
    """So that one run can differ without editing the installation's file."""
    environment = settings_file(tmp_path, "gateway_port: 9000\nthreads: 3\n") | {PREFIX + "THREADS": "5"}
    settings = load_settings(environment)
    assert (settings.gateway_port, settings.threads, settings.dagster_port) == (9000, 5, Settings().dagster_port)


def test_an_unknown_name_in_the_file_is_refused_and_the_known_ones_are_listed(tmp_path: Path) -> None:
    """A misspelt setting must not fall back to its default unseen."""
    with pytest.raises(SettingsError, match="Unknown settings: gateway_prot") as caught:
        load_settings(settings_file(tmp_path, "gateway_prot: 9000\n"))
    assert "gateway_port" in str(caught.value)


@pytest.mark.parametrize("text", ["- a\n- b\n", "just words\n"])
def test_a_file_that_holds_no_names_and_values_is_refused(tmp_path: Path, text: str) -> None:
    """A list is valid YAML and no settings."""
    with pytest.raises(SettingsError, match="must hold names and values"):
        load_settings(settings_file(tmp_path, text))


def test_a_file_that_is_missing_or_no_yaml_is_refused(tmp_path: Path) -> None:
    """Going on with defaults would read and write the wrong folders."""
    with pytest.raises(SettingsError, match="can't be read"):
        load_settings({SETTINGS_FILE: str(tmp_path / "nowhere.yaml")})
    with pytest.raises(SettingsError, match="can't be read"):
        load_settings(settings_file(tmp_path, "a: [\n"))


def test_a_limit_of_identifiers_that_nobody_looks_for_is_refused() -> None:
    """Whoever set it believes that users are taken back when patients' names come out."""
    limit = {PREFIX + "ROLLBACK_IDENTIFIERS": "1"}
    with pytest.raises(SettingsError, match="FINE_TUNE_GATEWAY_ANSWER_PHI to flag or block"):
        load_settings(limit)
    assert load_settings(limit | {PREFIX + "GATEWAY_ANSWER_PHI": "flag"}).rollback_identifiers == 1


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    """A file of comments only is a good place to start."""
    assert load_settings(settings_file(tmp_path, "# nothing yet\n")) == Settings()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("GATEWAY_PORT", "eighty", "whole number"),
        ("DAGSTER_UI_CAN_LAUNCH", "maybe", "true or false"),
        ("CANARY_PERCENT", "101", "from 0 to 100"),
        ("CANARY_PERCENT", "-1", "from 0 to 100"),
        ("TRIAL_MINUTES", "0", "from 1 to"),
        ("TRIAL_MINIMUM_REQUESTS", "0", "from 1 to"),
        ("TRIAL_MAXIMUM_MINUTES", "29", "at least FINE_TUNE_TRIAL_MINUTES"),
    ],
)
def test_a_value_of_the_wrong_kind_names_its_variable(name: str, value: str, words: str) -> None:
    """The message is all that an operator sees."""
    with pytest.raises(SettingsError, match=f"{PREFIX}{name} must be .*{words}"):
        load_settings({PREFIX + name: value})


@pytest.mark.parametrize(
    ("value", "expected"), [("true", True), ("1", True), ("Yes", True), ("0", False), ("no", False)]
)
def test_booleans_are_read_from_words(value: str, expected: bool) -> None:
    """`bool("false")` is true in Python: the read-only UI depends on this one."""
    assert load_settings({PREFIX + "DAGSTER_UI_CAN_LAUNCH": value}).dagster_ui_can_launch is expected


def test_the_dagster_ui_is_read_only_unless_somebody_says_otherwise() -> None:
    """It has no login."""
    assert load_settings({}).dagster_ui_can_launch is False


def test_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Services are started from another folder than the command."""
    monkeypatch.chdir(tmp_path)
    assert load_settings({PREFIX + "DATA_DIR": "here"}).data_dir == tmp_path / "here"


def test_the_ledger_is_a_file_below_the_data_folder_unless_a_url_is_given(tmp_path: Path) -> None:
    """Two installations never share one by accident."""
    assert Settings(data_dir=tmp_path).database_url == f"sqlite:///{tmp_path}/ledger/ledger.db"
    assert Settings(ledger_url="postgresql://me@db/ledger").database_url == "postgresql://me@db/ledger"


def test_going_offline_overrides_whatever_the_shell_says() -> None:
    """A shell that has the hub switched on must not open it for us."""
    code = (
        "import json, os; from fine_tune_assets.core.settings import *; go_offline(); "
        "print(json.dumps({name: os.environ.get(name) for name in OFFLINE_ENVIRONMENT}))"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "0", "DO_NOT_TRACK": "0", "WANDB_MODE": "online"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=PROJECT_DIR, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == OFFLINE_ENVIRONMENT


_LOADS_A_MODEL = """
import importlib, sys
importlib.import_module(sys.argv[1])
if "go" in sys.argv:
    from fine_tune_assets.core.settings import go_offline
    go_offline()
import onnxruntime
from fine_tune_assets.core.paths import PROJECT_DIR
onnxruntime.InferenceSession(PROJECT_DIR / "fine_tune_assets/phi/tagger/model/model.int8.onnx")
"""


@pytest.mark.parametrize(
    ("entry", "is_quiet"),
    [(["fine_tune_assets.core.settings", "go"], True), (["fine_tune_assets.definitions"], True), (["json"], False)],
)
def test_onnxruntime_tells_nobody_of_its_use(tmp_path: Path, entry: list[str], is_quiet: bool) -> None:
    """Where its telemetry is on, it leaves an id of the machine in the user's cache: what our processes load must not."""
    # Nothing is inherited but the path: it keeps quiet by itself where CI and the like are set, and would prove nothing.
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", _LOADS_A_MODEL, *entry], env=environment, cwd=PROJECT_DIR, check=True)
    told = [path for path in tmp_path.rglob("*") if "onnxruntime" in path.name]
    assert (told == []) is is_quiet
