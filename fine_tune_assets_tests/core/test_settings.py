"""Settings: the environment overrides the file, which overrides defaults; every error names its setting."""

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


def test_without_environment_and_file_the_defaults_apply() -> None:
    """`make demo` needs no configuration."""
    assert settings_in({}) == Settings()


def test_the_environment_overrides_the_file_and_the_file_overrides_the_default(tmp_path: Path) -> None:
    """One run can differ without editing the file."""
    environment = settings_file(tmp_path, "gateway:\n  port: 9000\nthreads: 3\n") | {PREFIX + "THREADS": "5"}
    settings = settings_in(environment)
    assert (settings.gateway.port, settings.threads, settings.desk.port) == (9000, 5, Settings().desk.port)


def test_an_unknown_setting_is_refused_with_the_known_names(tmp_path: Path) -> None:
    """A misspelt setting must not silently use its default."""
    with pytest.raises(SettingsError, match=r"no setting gateway.prot. Known in gateway: .*port"):
        settings_in(settings_file(tmp_path, "gateway:\n  prot: 9000\n"))
    with pytest.raises(SettingsError, match=r"no setting gatewya. Known: .*gateway"):
        settings_in(settings_file(tmp_path, "gatewya:\n  port: 9000\n"))
    with pytest.raises(SettingsError, match=r"no setting gateway.prot"):
        settings_in({PREFIX + "GATEWAY_PROT": "9000"})


@pytest.mark.parametrize("text", ["- a\n- b\n", "just words\n"])
def test_a_file_that_holds_no_names_and_values_is_refused(tmp_path: Path, text: str) -> None:
    """A list is valid YAML and no settings."""
    with pytest.raises(SettingsError, match=r"settings\.yaml"):
        settings_in(settings_file(tmp_path, text))


def test_a_missing_or_invalid_file_is_refused(tmp_path: Path) -> None:
    """With defaults, the wrong folders would be read and written."""
    with pytest.raises(SettingsError, match="can't be read"):
        settings_in({SETTINGS_FILE: str(tmp_path / "nowhere.yaml")})
    with pytest.raises(SettingsError, match="can't be read"):
        settings_in(settings_file(tmp_path, "a: [\n"))


def test_an_identifier_limit_without_the_identifier_check_is_refused() -> None:
    """The limit would never trigger a rollback."""
    limit = {PREFIX + "ROLLBACK_IDENTIFIER_COUNT": "1"}
    with pytest.raises(SettingsError, match=r"gateway.answer_phi to flag or block"):
        settings_in(limit)
    assert settings_in(limit | {PREFIX + "GATEWAY_ANSWER_PHI": "flag"}).rollback.identifier_count == 1


def test_group_names_are_unambiguous_prefixes() -> None:
    """Otherwise FINE_TUNE_ENGINE_X could name two settings."""
    groups = {name for name, value in Settings() if isinstance(value, BaseModel)}
    for name, _ in Settings():
        assert not [group for group in groups if "_" in group or (name.startswith(f"{group}_"))]


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    """Such as one with only comments."""
    assert settings_in(settings_file(tmp_path, "# nothing yet\n")) == Settings()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("GATEWAY_PORT", "eighty", "gateway.port .*integer"),
        ("GATEWAY", "nonsense", "gateway .*dictionary"),
        ("GATEWAY_BEHIND_TLS_PROXY", "maybe", "gateway.behind_tls_proxy .*boolean"),
        ("CANARY_PERCENT", "101", "canary.percent .*100"),
        ("CANARY_PERCENT", "-1", "canary.percent .*0"),
        ("CANARY_MINUTES", "0", "canary.minutes .*1"),
        ("CANARY_MINIMUM_REQUESTS", "0", "canary.minimum_requests .*1"),
        ("CANARY_MAXIMUM_MINUTES", "29", "canary.maximum_minutes must be at least canary.minutes"),
    ],
)
def test_an_invalid_value_is_reported_by_name_without_the_value(name: str, value: str, words: str) -> None:
    """A URL can contain a password."""
    with pytest.raises(SettingsError, match=words) as caught:
        settings_in({PREFIX + name: value})
    assert value not in str(caught.value)


def test_settings_survive_the_environment_of_a_service(tmp_path: Path) -> None:
    """A lost setting would silently become its default."""
    settings = Settings(
        data_dir=tmp_path, threads=3, gateway={"port": 9000, "tls_cert": "a.pem"}, retrain={"cron": "0 4 * * 1"}
    )
    assert settings_in(settings.environment()) == settings


@pytest.mark.parametrize(
    ("value", "expected"), [("true", True), ("1", True), ("Yes", True), ("0", False), ("no", False)]
)
def test_booleans_are_read_from_words(value: str, expected: bool) -> None:
    """`bool("false")` is true in Python."""
    assert settings_in({PREFIX + "GATEWAY_BEHIND_TLS_PROXY": value}).gateway.behind_tls_proxy is expected


def test_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Services are started from another folder than the command."""
    monkeypatch.chdir(tmp_path)
    assert settings_in({PREFIX + "DATA_DIR": "here"}).data_dir == tmp_path / "here"


def test_the_ledger_is_a_file_below_the_data_folder_unless_a_url_is_given(tmp_path: Path) -> None:
    """Installations never share one by accident."""
    assert Settings(data_dir=tmp_path).database_url == f"sqlite:///{tmp_path}/ledger/ledger.db"
    assert Settings(ledger_url="postgresql://me@db/ledger").database_url == "postgresql://me@db/ledger"


def test_going_offline_overrides_the_shells_environment() -> None:
    """The shell may have the hub enabled."""
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
onnxruntime.InferenceSession(PROJECT_DIR / "fine_tune_assets/phi/tagger/models/clinical/model.int8.onnx")
"""


@pytest.mark.parametrize(
    ("entry", "is_quiet"),
    [(["fine_tune_assets.core.settings", "go"], True), (["fine_tune_assets.definitions"], True), (["json"], False)],
)
def test_onnxruntime_telemetry_is_off(tmp_path: Path, entry: list[str], is_quiet: bool) -> None:
    """With telemetry on, onnxruntime stores an id of the machine in the user's cache."""
    # Inherit only PATH: in a CI environment its telemetry is off by default, which would prove nothing.
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", _LOADS_A_MODEL, *entry], env=environment, cwd=PROJECT_DIR, check=True)
    files = [path for path in tmp_path.rglob("*") if "onnxruntime" in path.name]
    assert (files == []) is is_quiet
