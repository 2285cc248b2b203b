"""Settings: environment before file before default, and every fault named."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from fine_tune_assets.core.errors import SettingsError
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.processes.offline import OFFLINE_ENVIRONMENT
from fine_tune_assets.core.settings import PREFIX, SETTINGS_FILE, Settings
from fine_tune_assets_tests.changed_settings import settings_in


def settings_file(folder: Path, text: str) -> dict[str, str]:
    path = folder / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return {SETTINGS_FILE: str(path)}


def test_without_environment_and_file_the_defaults_hold() -> None:
    """`make demo` needs no configuration."""
    assert settings_in({}) == Settings()


def test_the_environment_beats_the_file_and_the_file_beats_the_default(tmp_path: Path) -> None:
    """So that one run can differ without editing the installation's file."""
    environment = settings_file(tmp_path, "gateway:\n  port: 9000\nthreads: 3\n") | {PREFIX + "THREADS": "5"}
    settings = settings_in(environment)
    assert (settings.gateway.port, settings.threads, settings.dagster.port) == (9000, 5, Settings().dagster.port)


def test_an_unknown_name_in_the_file_is_refused_and_the_known_ones_are_listed(tmp_path: Path) -> None:
    """A misspelt setting must not fall back to its default unseen."""
    with pytest.raises(SettingsError, match=r"no setting gateway.prot. Known in gateway: .*port"):
        settings_in(settings_file(tmp_path, "gateway:\n  prot: 9000\n"))
    with pytest.raises(SettingsError, match=r"no setting gatewya. Known: .*gateway"):
        settings_in(settings_file(tmp_path, "gatewya:\n  port: 9000\n"))
    with pytest.raises(SettingsError, match=r"no setting gateway.prot"):
        settings_in({PREFIX + "GATEWAY_PROT": "9000"})


@pytest.mark.parametrize("text", ["- a\n- b\n", "just words\n"])
def test_a_file_that_holds_no_names_and_values_is_refused(tmp_path: Path, text: str) -> None:
    """A list is valid YAML and no settings."""
    with pytest.raises(SettingsError, match="must hold names and values"):
        settings_in(settings_file(tmp_path, text))


def test_a_file_that_is_missing_or_no_yaml_is_refused(tmp_path: Path) -> None:
    """Going on with defaults would read and write the wrong folders."""
    with pytest.raises(SettingsError, match="can't be read"):
        settings_in({SETTINGS_FILE: str(tmp_path / "nowhere.yaml")})
    with pytest.raises(SettingsError, match="can't be read"):
        settings_in(settings_file(tmp_path, "a: [\n"))


def test_a_limit_of_identifiers_that_nobody_looks_for_is_refused() -> None:
    """Whoever set it believes that users are taken back when patients' names come out."""
    limit = {PREFIX + "ROLLBACK_IDENTIFIERS": "1"}
    with pytest.raises(SettingsError, match=r"gateway.answer_phi to flag or block"):
        settings_in(limit)
    assert settings_in(limit | {PREFIX + "GATEWAY_ANSWER_PHI": "flag"}).rollback.identifiers == 1


def test_one_underscore_tells_groups_apart() -> None:
    """Else FINE_TUNE_ENGINE_X would be two settings."""
    groups = {name for name, value in Settings() if isinstance(value, BaseModel)}
    for name, _ in Settings():
        assert not [group for group in groups if "_" in group or (name.startswith(f"{group}_"))]


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    """A file of comments only is a good place to start."""
    assert settings_in(settings_file(tmp_path, "# nothing yet\n")) == Settings()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("GATEWAY_PORT", "eighty", "gateway.port .*integer"),
        ("GATEWAY", "nonsense", "gateway .*dictionary"),
        ("DAGSTER_UI_CAN_LAUNCH", "maybe", "dagster.ui_can_launch .*boolean"),
        ("TRIAL_PERCENT", "101", "trial.percent .*100"),
        ("TRIAL_PERCENT", "-1", "trial.percent .*0"),
        ("TRIAL_MINUTES", "0", "trial.minutes .*1"),
        ("TRIAL_MINIMUM_REQUESTS", "0", "trial.minimum_requests .*1"),
        ("TRIAL_MAXIMUM_MINUTES", "29", "trial.maximum_minutes must be at least trial.minutes"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named_and_not_shown(name: str, value: str, words: str) -> None:
    """The message is all that an operator sees, and an address can hold a password."""
    with pytest.raises(SettingsError, match=words) as caught:
        settings_in({PREFIX + name: value})
    assert value not in str(caught.value)


def test_a_service_is_given_exactly_these_settings(tmp_path: Path) -> None:
    """Through its environment: a setting that is lost on the way is a default that nobody chose."""
    settings = Settings(
        data_dir=tmp_path, threads=3, gateway={"port": 9000, "tls_cert": "a.pem"}, retrain={"cron": "0 4 * * 1"}
    )
    assert settings_in(settings.environment()) == settings


@pytest.mark.parametrize(
    ("value", "expected"), [("true", True), ("1", True), ("Yes", True), ("0", False), ("no", False)]
)
def test_booleans_are_read_from_words(value: str, expected: bool) -> None:
    """`bool("false")` is true in Python: the read-only UI depends on this one."""
    assert settings_in({PREFIX + "DAGSTER_UI_CAN_LAUNCH": value}).dagster.ui_can_launch is expected


def test_the_dagster_ui_is_read_only_unless_somebody_says_otherwise() -> None:
    """It has no login."""
    assert settings_in({}).dagster.ui_can_launch is False


def test_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Services are started from another folder than the command."""
    monkeypatch.chdir(tmp_path)
    assert settings_in({PREFIX + "DATA_DIR": "here"}).data_dir == tmp_path / "here"


def test_the_ledger_is_a_file_below_the_data_folder_unless_a_url_is_given(tmp_path: Path) -> None:
    """Two installations never share one by accident."""
    assert Settings(data_dir=tmp_path).database_url == f"sqlite:///{tmp_path}/ledger/ledger.db"
    assert Settings(ledger_url="postgresql://me@db/ledger").database_url == "postgresql://me@db/ledger"


def test_going_offline_overrides_whatever_the_shell_says() -> None:
    """A shell that has the hub switched on must not open it for us."""
    code = (
        "import json, os; from fine_tune_assets.core.processes.offline import *; go_offline(); "
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
    from fine_tune_assets.core.processes.offline import go_offline
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
