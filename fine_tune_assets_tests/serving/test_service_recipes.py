"""A command whose settings name another recipe than the running services refuses, and names both."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from fine_tune_assets.cli.main import main
from fine_tune_assets.core.product_lines import create_line
from fine_tune_assets.core.settings import Settings, load_settings, select_line
from fine_tune_assets.engines.running_server import free_port
from fine_tune_assets.recipes.loader import shipped_recipes
from fine_tune_assets.serving.service_recipes import (
    OtherRecipeError,
    find_other_recipes,
    read_recorded_recipes,
    record_recipe,
    require_recipe_of_services,
)
from fine_tune_assets.serving.services import start_services, stop_services
from fine_tune_assets_tests.changed_settings import changed
from fine_tune_assets_tests.conftest import write_recipe

DEMO = shipped_recipes()["demo_smollm2"]
OTHER = "law_contracts"


@pytest.fixture
def desk(installation_dir: Path) -> Iterator[Settings]:  # noqa: ARG001
    """The installation while its desk runs, as `fine-tune up desk` starts it."""
    settings = changed(load_settings(), desk={"port": free_port()})
    start_services(settings, ["desk"])
    yield settings
    stop_services(settings, ["desk"])


def test_a_command_with_another_recipe_refuses_while_services_run(
    desk: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would train with the services' recipe, or write tables that the services' recipe does not fit."""
    assert read_recorded_recipes(desk.layout.run) == {"desk": desk.recipe}
    require_recipe_of_services(desk)
    monkeypatch.setenv("FINE_TUNE_RECIPE", OTHER)
    for command in (["materialize", "adapters"], ["materialize", "--dry-run"], ["up"], ["demo", "--no-ui"]):
        refused = CliRunner().invoke(main, command)
        assert refused.exit_code == 1, command
        assert {OTHER, desk.recipe, "desk"} <= set(refused.stderr.replace(",", " ").split()), refused.stderr
    stop_services(desk, ["desk"])
    require_recipe_of_services(load_settings())


def test_a_recipe_that_changed_on_disk_needs_no_restart(desk: Settings) -> None:
    """Services read the file again for each run."""
    write_recipe(desk.data_dir, training={"epochs": 7})
    require_recipe_of_services(desk)


def test_a_copy_of_the_recipe_with_the_same_content_is_the_same_recipe(tmp_path: Path) -> None:
    copy = tmp_path / "copy.yaml"
    copy.write_text(f"# with a comment\n{DEMO.read_text(encoding='utf-8')}", encoding="utf-8")
    assert find_other_recipes({"desk": "demo_smollm2"}, str(copy)) == {}
    assert find_other_recipes({"desk": str(copy)}, OTHER) == {"desk": str(copy)}


def test_each_service_with_another_recipe_is_named(tmp_path: Path) -> None:
    """After a partial restart, some services have the new recipe."""
    recorded = {"code-server": OTHER, "desk": "demo_smollm2", "gateway": OTHER}
    assert find_other_recipes(recorded, "demo_smollm2") == {"code-server": OTHER, "gateway": OTHER}
    assert find_other_recipes({"desk": str(tmp_path / "gone.yaml")}, OTHER) == {"desk": str(tmp_path / "gone.yaml")}


def test_the_record_of_an_ended_or_damaged_service_does_not_count(settings: Settings) -> None:
    """A service that was killed leaves its record, and its process id may be used again."""
    record_recipe(settings, "desk")
    path = settings.layout.run / "desk.recipe.json"
    assert read_recorded_recipes(settings.layout.run) == {"desk": "demo_smollm2"}
    values = json.loads(path.read_text(encoding="utf-8"))
    for content in (json.dumps({**values, "start_ticks": values["start_ticks"] + 1}), "{", "[]"):
        path.write_text(content, encoding="utf-8")
        assert read_recorded_recipes(settings.layout.run) == {}


def test_a_relative_path_is_recorded_as_the_service_finds_it(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command may run in another folder, where the same path is another file."""
    shutil.copy(DEMO, tmp_path / "mine.yaml")
    monkeypatch.chdir(tmp_path)
    record_recipe(changed(settings, recipe="mine.yaml"), "desk")
    assert read_recorded_recipes(settings.layout.run) == {"desk": str(tmp_path / "mine.yaml")}


def test_the_variable_does_not_pass_for_the_recipe_of_a_product_line(settings: Settings) -> None:
    """A line's recipe is in its line.yaml, so the variable would be ignored without a word."""
    record_recipe(settings, "desk")
    create_line(settings, "law", OTHER)
    require_recipe_of_services(select_line(settings, "law"))
    with pytest.raises(OtherRecipeError, match=r"line\.yaml"):
        require_recipe_of_services(select_line(changed(settings, recipe="finance_complaints"), "law"))
