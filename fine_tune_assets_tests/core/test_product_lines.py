"""Settings and folders of further product lines."""

import os
from pathlib import Path

import pytest

from fine_tune_assets.core.errors import SettingsError
from fine_tune_assets.core.keys import read_or_create_key
from fine_tune_assets.core.line_names import LINE_VARIABLE
from fine_tune_assets.core.product_lines import create_line, link_shared_folders
from fine_tune_assets.core.settings import (
    INSTALLATION_SETTINGS,
    PREFIX,
    Settings,
    list_lines,
    load_settings,
    select_line,
    working_on,
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "d", retrain={"time_zone": "UTC"})


def _line(settings: Settings, text: str, name: str = "law") -> Settings:
    file = settings.layout.lines / name / "line.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return select_line(settings, name)


def test_a_line_has_a_data_folder_and_a_ledger_of_its_own(settings: Settings) -> None:
    law = _line(settings, "recipe: law_contracts\npriority: 3\nretrain: {cron: '0 4 * * 6'}\n")
    assert (law.line, law.recipe, law.priority) == ("law", "law_contracts", 3)
    assert law.data_dir == settings.data_dir / "lines" / "law"
    assert law.database_url == f"sqlite:///{law.data_dir / 'ledger' / 'ledger.db'}"
    assert law.installation == settings
    assert (law.retrain.cron, law.retrain.time_zone) == ("0 4 * * 6", "UTC"), "other settings are the installation's"
    assert law.gateway == settings.gateway
    assert (settings.line, settings.installation) == ("", settings)


def test_tokens_of_the_sign_in_provider_are_accepted_by_the_main_line_only(tmp_path: Path) -> None:
    """A token names no line: a person of the clinic must not reach the lawyers' model with it."""
    main = Settings(
        data_dir=tmp_path / "d", gateway={"oidc_issuer": "https://id.example", "oidc_audience": "x", "port": 1234}
    )
    law = _line(main, "recipe: law_contracts\n")
    assert (law.gateway.oidc_issuer, law.gateway.oidc_audience, law.gateway.port) == ("", "", 1234)


def test_a_changed_line_file_is_read_again(settings: Settings) -> None:
    """Sensors read the settings at every tick."""
    assert _line(settings, "recipe: law_contracts\n").recipe == "law_contracts"
    assert _line(settings, "recipe: finance_complaints\n").recipe == "finance_complaints"


@pytest.mark.parametrize(
    "text",
    [
        "priority: 1\n",
        "recipe: law_contracts\nport: 1\n",
        "recipe: law_contracts\ngateway: {port: 1}\n",
        "recipe: law_contracts\ndata_dir: /elsewhere\n",
        "recipe: law_contracts\npriority: 1000\n",
        "- recipe\n",
        "recipe: [\n",
    ],
)
def test_a_faulty_line_file_is_refused_with_its_path(settings: Settings, text: str) -> None:
    with pytest.raises(SettingsError, match=r"lines/law/line\.yaml"):
        _line(settings, text)


@pytest.mark.parametrize("name", ["main", "live", "recipe", "Law", "a", "a" * 21, "../law", "1law", "law/x"])
def test_a_name_that_could_be_taken_for_something_else_is_refused(settings: Settings, name: str) -> None:
    with pytest.raises(SettingsError):
        create_line(settings, name, "law_contracts")
    with pytest.raises(SettingsError):
        select_line(settings, name)


def test_an_unknown_line_names_the_known_ones(settings: Settings) -> None:
    create_line(settings, "law", "law_contracts")
    with pytest.raises(SettingsError, match=r"finance.*law.*fine-tune lines add"):
        select_line(settings, "finance")


def test_the_ledger_of_an_installation_on_postgresql_is_never_shared(tmp_path: Path) -> None:
    """Two lines in one database would see each other's decisions."""
    on_server = Settings(
        data_dir=tmp_path / "d", ledger_url="postgresql://u@h/one", knowledge={"url": "postgresql://u@h/k"}
    )
    with pytest.raises(SettingsError, match="ledger_url"):
        _line(on_server, "recipe: law_contracts\n")
    with pytest.raises(SettingsError, match="ledger_url"):
        _line(on_server, "recipe: law_contracts\nledger_url: postgresql://u@h/one\n")
    with pytest.raises(SettingsError, match="ledger_url"):
        create_line(on_server, "finance", "finance_complaints")
    assert list_lines(on_server) == ("law",), "a line that can't be opened is not created"
    create_line(on_server, "finance", "finance_complaints", ledger_url="postgresql://u@h/three")
    law = _line(on_server, "recipe: law_contracts\nledger_url: postgresql://u@h/two\n")
    assert (law.ledger_url, law.knowledge.url) == ("postgresql://u@h/two", "")


def test_a_service_of_a_line_gets_the_same_settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    law = _line(settings, "recipe: law_contracts\nthreads: 1\n")
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    for name, value in law.environment().items():
        monkeypatch.setenv(name, value)
    loaded = load_settings()
    assert loaded == law
    assert loaded.installation == settings
    with working_on(""):
        assert load_settings() == settings
    assert load_settings() == law
    monkeypatch.delenv(LINE_VARIABLE)
    assert load_settings() == settings


def test_lines_are_listed_from_every_line(settings: Settings) -> None:
    for name in ("law", "finance"):
        create_line(settings, name, "law_contracts")
    (settings.layout.lines / "empty").mkdir()
    assert list_lines(settings) == ("finance", "law")
    assert list_lines(select_line(settings, "law")) == ("finance", "law")


def test_settings_of_the_whole_installation_exist() -> None:
    """A renamed setting must not become settable by a line unnoticed."""
    assert set(Settings.model_fields) >= INSTALLATION_SETTINGS


def test_shared_folders_are_links_that_survive_a_move(settings: Settings, tmp_path: Path) -> None:
    create_line(settings, "law", "law_contracts")
    law = select_line(settings, "law")
    link_shared_folders(law)
    (settings.layout.base_models / "m").mkdir()
    assert (law.layout.base_models / "m").is_dir()
    assert not (law.layout.base_models.readlink()).is_absolute()
    settings.data_dir.rename(tmp_path / "moved")
    moved = select_line(Settings(data_dir=tmp_path / "moved"), "law")
    assert (moved.layout.base_models / "m").is_dir()


def test_a_folder_of_its_own_is_kept(settings: Settings) -> None:
    create_line(settings, "law", "law_contracts")
    law = select_line(settings, "law")
    (law.layout.evaluation / "law_phi").mkdir(parents=True)
    link_shared_folders(law)
    link_shared_folders(law)
    assert not law.layout.evaluation.is_symlink()
    assert (law.layout.evaluation / "law_phi").is_dir()


def test_the_same_subject_has_the_same_key_in_every_line(settings: Settings) -> None:
    """Otherwise an erasure would not find the subject in another line."""
    create_line(settings, "law", "law_contracts")
    law = select_line(settings, "law")
    assert law.subject_keys == settings.subject_keys == settings.layout.keys
    assert read_or_create_key(law.layout.keys, "ledger") != read_or_create_key(settings.layout.keys, "ledger")


def test_a_line_can_read_the_batches_of_another(settings: Settings) -> None:
    (settings.layout.raw_reports / "2026-01").mkdir(parents=True)
    create_line(settings, "letters", "law_contracts", reports_of="")
    assert (select_line(settings, "letters").layout.raw_reports / "2026-01").is_dir()
    with pytest.raises(SettingsError):
        create_line(settings, "law", "law_contracts", reports_of="nobody_has_it")


def test_a_line_is_not_created_twice(settings: Settings) -> None:
    """The second call would replace the settings of the first."""
    create_line(settings, "law", "law_contracts")
    with pytest.raises(SettingsError):
        create_line(settings, "law", "finance_complaints")
    assert select_line(settings, "law").recipe == "law_contracts"
