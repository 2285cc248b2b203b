"""`fine-tune recipe`: what a recipe author lists, copies and checks before a training depends on it."""

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from fine_tune_assets.cli.main import main
from fine_tune_assets.core.settings import PREFIX
from fine_tune_assets.recipes.loader import load_recipe, shipped_recipes


@pytest.fixture(autouse=True)
def active_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}DATA_DIR", str(tmp_path / "none"))
    monkeypatch.setenv(f"{PREFIX}RECIPE", "demo_smollm2")


def recipe(*words: object) -> Result:
    return CliRunner().invoke(main, ["recipe", *map(str, words)])


def test_every_shipped_recipe_is_listed_and_the_active_one_is_marked() -> None:
    rows = json.loads(recipe("list", "--json").stdout)
    assert [row["name"] for row in rows] == list(shipped_recipes())
    assert [row["name"] for row in rows if row["is_active"]] == ["demo_smollm2"]
    assert all(row["description"] and row["base_model"] and row["method"] for row in rows)


def test_the_active_recipe_is_checked_without_a_name() -> None:
    """With every default, so that an author sees what is in force."""
    found = json.loads(recipe("check", "--json").stdout)
    assert (found["name"], found["training"]["method"]) == ("demo_smollm2", load_recipe("demo_smollm2").training.method)
    assert recipe("check").exit_code == 0


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_new_recipe_is_a_valid_copy_with_its_own_name_and_salt(name: str, tmp_path: Path) -> None:
    """With the salt of another recipe, the test split of one would be in the training of the other's reader's mind."""
    file = tmp_path / "ward_notes.yaml"
    assert recipe("new", file, "--from", name).exit_code == 0
    made, template = load_recipe(str(file)), load_recipe(name)
    assert (made.name, made.training, made.tasks) == ("ward_notes", template.training, template.tasks)
    assert made.split.salt == "ward-notes-1"
    assert recipe("check", file).exit_code == 0


@pytest.mark.parametrize("name", ["Ward.yaml", "ward notes.yaml", "ward.yml", "ward", "-ward.yaml", "_ward.yaml"])
def test_a_name_that_no_recipe_can_have_is_refused(name: str, tmp_path: Path) -> None:
    refused = recipe("new", "--", tmp_path / name)
    assert refused.exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    """It may be the recipe of the model in production."""
    file = tmp_path / "ward.yaml"
    file.write_text("name: ward\n")
    assert recipe("new", file).exit_code == 1
    assert file.read_text() == "name: ward\n"


def test_a_missing_folder_and_an_unknown_template_are_refused(tmp_path: Path) -> None:
    refused = recipe("new", tmp_path / "missing" / "ward.yaml")
    assert (refused.exit_code, refused.stderr.startswith("Error: ")) == (1, True)
    assert recipe("new", tmp_path / "ward.yaml", "--from", "nothing").exit_code == 2
    assert list(tmp_path.iterdir()) == []


def changed(tmp_path: Path, edit: str) -> Path:
    file = tmp_path / "ward.yaml"
    text = shipped_recipes()["demo_smollm2"].read_text(encoding="utf-8")
    file.write_text({"yaml": text + "tasks: [\n", "twice": text + "name: again\n", "empty": ""}.get(edit, text))
    if edit in ("field", "value"):
        values = yaml.safe_load(text)
        values["training"] |= {"epoch": 3} if edit == "field" else {"epochs": "many"}
        file.write_text(yaml.safe_dump(values))
    return file


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        ("yaml", "ward.yaml"),
        ("twice", "name"),
        ("empty", "recipe"),
        ("field", "training.epoch"),
        ("value", "training.epochs"),
    ],
)
def test_a_faulty_recipe_is_refused_with_the_place_of_the_fault(tmp_path: Path, edit: str, named: str) -> None:
    """YAML keeps the second of two equal keys silently, and an unknown field would be ignored."""
    found = recipe("check", changed(tmp_path, edit))
    assert found.exit_code == 1
    assert named in found.stderr
    assert found.stdout == ""


def test_a_recipe_that_does_not_exist_is_refused_with_the_known_ones() -> None:
    found = recipe("check", "demo")
    assert found.exit_code == 1
    assert all(name in found.stderr for name in shipped_recipes())
