"""`fine-tune recipe`: what a recipe author lists, copies and checks before a training depends on it."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from fine_tune_assets.approval.recipe_preview import EMPTY_SECTION, INLINE_HEADING, NO_SECTION, OTHER_LABEL
from fine_tune_assets.cli.main import main
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.settings import PREFIX
from fine_tune_assets.recipes.loader import load_recipe, shipped_recipes
from fine_tune_assets.recipes.schema import SectionTask


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


SAMPLES = PROJECT_DIR / "data" / "samples" / "law"
TASK = ("--task", "deadline", "--instruction", "Name the deadline.", "--input", "CLAUSE", "--output", "DEADLINE")


def _check(folder: Path, name: str = "law_contracts") -> dict[str, Any]:
    checked = recipe("check", name, "--reports", folder, "--json")
    assert checked.exit_code == 0, checked.output
    return dict(json.loads(checked.stdout))


def test_a_recipe_is_checked_against_the_reports_at_hand() -> None:
    """An author must see before scrubbing and training what a recipe will make of the reports."""
    found = _check(SAMPLES)
    assert (found["reports"], found["unreadable"], found["reports_without_draft"]) == (120, {}, 0)
    assert 1 < found["subjects"] < found["reports"]
    assert {"heading": "CLAUSE", "reports": 120, "share": 1.0} in found["sections"]
    assert {one["task"]: one["drafts"] for one in found["tasks"]} == {"clause_type": 120, "obligation": 120}
    assert "120" in recipe("check", "law_contracts", "--reports", SAMPLES).stdout


def test_what_is_left_out_is_stated_with_its_reason(tmp_path: Path) -> None:
    texts = {
        "good": "CLAUSE\n\nPay.\n\nCLAUSE TYPE\n\npayment\n\nOBLIGATION\n\nThe Buyer pays.\n",
        "other-label": "CLAUSE\n\nPay.\n\nCLAUSE TYPE\n\nmoney\n\nOBLIGATION\n\nThe Buyer pays.\n",
        "inline": "CLAUSE: Pay.\n\nCLAUSE TYPE\n\npayment\n",
        "empty": "CLAUSE\n\nCLAUSE TYPE\n\npayment\n",
        "nothing": "A letter.\n",
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.txt").write_text(f"---\nsubject_id: {name}\n---\n{text}")
    (tmp_path / "nobody.txt").write_text(texts["good"])
    found = _check(tmp_path)
    tasks = {one["task"]: one for one in found["tasks"]}
    assert (found["reports"], found["unreadable"], found["reports_without_draft"]) == (5, {"no_subject": 1}, 3)
    assert (tasks["clause_type"]["drafts"], tasks["obligation"]["drafts"]) == (1, 2)
    assert tasks["clause_type"]["left_out"] == {
        f"{EMPTY_SECTION}: CLAUSE": 1,
        f"{INLINE_HEADING}: CLAUSE": 1,
        f"{NO_SECTION}: CLAUSE": 1,
        f"{NO_SECTION}: CLAUSE TYPE": 1,
        OTHER_LABEL: 1,
    }


def test_no_text_of_a_report_is_printed(tmp_path: Path) -> None:
    """A line that only looks like a heading may be a name."""
    (tmp_path / "a.txt").write_text("---\nsubject_id: a\n---\nCLAUSE\n\nPay.\n\nZYXW VUTQUARK:\n\nSeen.\n")
    for options in ((), ("--json",)):
        assert "VUTQUARK" not in recipe("check", "law_contracts", "--reports", tmp_path, *options).stdout
    assert _check(tmp_path)["uncertain_headings"] == 1


def test_drafts_are_printed_on_request_with_the_ends_of_their_sections(tmp_path: Path) -> None:
    """A section that ran on into the next one was found only by opening drafts on the desk."""
    for number in range(4):
        text = f"CLAUSE\n\nPay {number} euros.\n\n# Fees\n\nNone.\n\n# Obligation\n\nPay\x1b[31m.\n\n# Notes\n\nOld.\n"
        (tmp_path / f"{number}.md").write_text(f"---\nsubject_id: a\n---\n{text}")
    shown = recipe("check", "law_contracts", "--reports", tmp_path, "--drafts")
    assert shown.exit_code == 0
    assert shown.stdout.count("CLAUSE ends at FEES (heading style)") == 3
    assert shown.stdout.count("OBLIGATION ends at NOTES (heading style)") == 3
    assert "\x1b" not in shown.stdout
    found = json.loads(recipe("check", "law_contracts", "--reports", tmp_path, "--drafts", "--json").stdout)
    assert [one["heading"] for one in found["headings"]] == ["FEES", "NOTES"]
    assert len(found["draft_examples"]) == 3
    assert recipe("check", "law_contracts", "--drafts").exit_code == 2


def test_a_folder_without_a_readable_report_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("")
    assert recipe("check", "law_contracts", "--reports", tmp_path).exit_code == 1


@pytest.mark.parametrize("domain", ["clinical", "law", "finance"])
@pytest.mark.parametrize("options", [(), ("--labels", "short, long, no", "--source", "my notes")])
def test_a_new_recipe_of_a_domain_has_the_task_from_the_options(
    tmp_path: Path, domain: str, options: tuple[str, ...]
) -> None:
    file = tmp_path / "my_line.yaml"
    assert recipe("new", file, "--domain", domain, *TASK, *options).exit_code == 0
    made = load_recipe(str(file))
    (task,) = made.tasks
    assert (made.name, made.domain, made.judge.rubric, made.split.salt) == ("my_line", domain, "domain", "my-line-1")
    assert isinstance(task, SectionTask)
    assert (task.name, task.input_sections, task.output_section) == ("deadline", ("CLAUSE",), "DEADLINE")
    assert task.labels == (("short", "long", "no") if options else ())
    assert list(made.trusted_sources) == (["my notes"] if options else [])
    assert list(made.review.guidelines) == ["deadline"]
    assert file.read_text(encoding="utf-8").count("#") > 20


def test_without_a_terminal_a_missing_answer_is_named(tmp_path: Path) -> None:
    """A script must not wait for an answer, nor write half of a recipe."""
    refused = recipe("new", tmp_path / "line.yaml", "--domain", "law", *TASK[:-2])
    assert (refused.exit_code, "--output" in refused.stderr) == (2, True)
    assert recipe("new", tmp_path / "line.yaml", *TASK).exit_code == 2
    assert recipe("new", tmp_path / "line.yaml", "--domain", "banking", *TASK).exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_without_a_file_the_recipe_is_named_after_its_domain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert recipe("new", "--domain", "law", *TASK).exit_code == 0
    assert load_recipe("law.yaml").name == "law"
    assert recipe("new").exit_code == 2
