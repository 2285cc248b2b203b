"""`fine-tune recipe`: what a recipe author lists, copies and checks before a training depends on it."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from fine_tune_assets.approval.recipe_preview import EMPTY_SECTION, INLINE_HEADING, NO_SECTION, OTHER_LABEL
from fine_tune_assets.cli.main import main
from fine_tune_assets.cli.recipe_problems import find_machine_problems
from fine_tune_assets.core.keys import SUBJECTS_KEY, read_or_create_key
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.settings import PREFIX, load_settings
from fine_tune_assets.instructions.splits import SplitRule
from fine_tune_assets.recipes.loader import load_recipe, shipped_recipes
from fine_tune_assets.recipes.schema import SectionTask
from fine_tune_assets.reports.stated_identifiers import make_subject_key


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
    assert recipe("check", file, "--any-machine").exit_code == 0


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
    found = dict(json.loads(checked.stdout))
    assert checked.exit_code == (1 if found["problems"] else 0)
    return found


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
    assert shown.exit_code == 1, "four reports are too few"
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


def _write_reports(folder: Path, count: int, subjects: int | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        text = f"CLAUSE\n\nPay invoice {number} within {number + 3} days.\n\nCLAUSE TYPE\n\npayment\n"
        subject = number % (subjects or count)
        (folder / f"r{number}.txt").write_text(f"---\nsubject_id: s{subject}\n---\n{text}", encoding="utf-8")
    return folder


def _write_recipe(tmp_path: Path, **changes: Any) -> Path:
    """A recipe with one task, for the CPU."""
    values = yaml.safe_load(shipped_recipes()["law_contracts"].read_text(encoding="utf-8"))
    values |= {"tasks": values["tasks"][:1], "review": {**values["review"], "guidelines": {}}}
    for name, change in changes.items():
        values[name] = {**values[name], **change} if isinstance(change, dict) and name != "mix" else change
    file = tmp_path / "my_line.yaml"
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    return file


def _problems(*words: object) -> list[str]:
    checked = recipe("check", *words)
    found = [line.removeprefix("Problem: ") for line in checked.stderr.splitlines()]
    assert checked.exit_code == (1 if found else 0), checked.output
    return found


def test_a_recipe_that_can_end_in_a_verdict_has_no_problem(tmp_path: Path) -> None:
    folder = _write_reports(tmp_path / "batch", 120)
    file = _write_recipe(tmp_path, split={"minimum_examples": 80, "test_fraction": 0.28})
    assert _problems(file, "--reports", folder) == []


def test_zero_drafts_are_refused_with_the_headings_that_no_report_has(tmp_path: Path) -> None:
    """The check ended with 0, and the recipe was found to be useless after the scrubbing."""
    folder = _write_reports(tmp_path / "batch", 3)
    task = {"name": "loss", "instruction": "Name the loss.", "input_sections": ["CLAUSE"], "output_section": "LOSS"}
    (problem,) = _problems(_write_recipe(tmp_path, tasks=[task]), "--reports", folder)
    assert problem.startswith("tasks.loss: ")
    assert all(name in problem for name in ("LOSS", "CLAUSE TYPE"))


def test_one_task_without_drafts_is_refused_although_another_has_some(tmp_path: Path) -> None:
    folder = _write_reports(tmp_path / "batch", 3)
    found = _problems("law_contracts", "--reports", folder)
    assert [problem.split(":")[0] for problem in found] == ["tasks.obligation"]


def test_an_unknown_data_set_of_the_mix_is_refused(tmp_path: Path) -> None:
    """The instruction set would fail on it, after the reviews."""
    (problem,) = _problems(_write_recipe(tmp_path, mix={"bundled": 0.1, "no_such_set": 0.2}))
    assert problem.startswith("mix.no_such_set: ")


def test_a_model_that_is_not_there_is_refused(tmp_path: Path) -> None:
    (problem,) = _problems(_write_recipe(tmp_path, base_model={"folder": "base_models/none"}))
    assert problem.startswith("base_model.folder: ")


@pytest.mark.parametrize(
    ("section", "change", "field"),
    [
        ("training", {"method": "qlora"}, "training.method"),
        ("training", {"engine": "unsloth"}, "training.engine"),
        ("training", {"processes": 2}, "training.processes"),
        ("engine", "vllm", "engine"),
        ("judge", {"kind": "statements", "model": "judges/none", "backend": "folder"}, "judge.model"),
        ("judge", {"kind": "statements", "model": "m", "backend": "endpoint"}, "judge.backend"),
        ("scrub", {"entity_model": "spacy:no_such_package"}, "scrub.entity_model"),
    ],
)
def test_what_this_machine_lacks_is_refused_with_its_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: str, change: Any, field: str
) -> None:
    monkeypatch.setenv(f"{PREFIX}VLLM_PYTHON", str(tmp_path / "none"))
    loaded = load_recipe(str(_write_recipe(tmp_path, **{section: change})))
    assert [one.split(":")[0] for one in find_machine_problems(load_settings(), loaded, has_gpu=False)] == [field]


def test_a_recipe_for_a_gpu_is_accepted_where_one_is_and_with_any_machine(tmp_path: Path) -> None:
    file = _write_recipe(tmp_path, training={"method": "qlora"})
    assert list(find_machine_problems(load_settings(), load_recipe(str(file)), has_gpu=True)) == []
    assert _problems(file, "--any-machine") == []


def test_a_test_split_that_the_gate_would_hold_is_refused_before_the_reviews(tmp_path: Path) -> None:
    """A split of 16 where the gate needs 20 was said after 60 reviews."""
    folder = _write_reports(tmp_path / "batch", 60)
    file = _write_recipe(tmp_path, split={"minimum_examples": 75, "test_fraction": 0.27})
    found = _problems(file, "--reports", folder)
    assert [problem.split(":")[0] for problem in found] == [
        "split.minimum_examples",
        "split.test_fraction",
        "split.test_fraction",
    ]
    assert all(part in found[1] for part in ("about 16 of 60", "75 drafts", "0.34"))


def test_with_the_keys_of_the_installation_the_split_is_counted_and_not_estimated(tmp_path: Path) -> None:
    """The expected share of a small set says little: subjects fall into the test split by chance."""
    folder, settings = _write_reports(tmp_path / "batch", 80), load_settings()
    key = read_or_create_key(settings.subject_keys, SUBJECTS_KEY)
    file = _write_recipe(tmp_path, split={"minimum_examples": 72, "test_fraction": 0.28})
    rule = SplitRule(load_recipe(str(file)).split)
    tested = sum(rule.assign(make_subject_key(key, f"s{number}")) == "test" for number in range(80))
    found = _problems(file, "--reports", folder)
    assert bool(found) == (tested < 20)
    assert all(f" {tested} of 80" in problem and "about" not in problem for problem in found[:2])


def test_a_domain_without_labelled_reports_is_told_what_comes_first(tmp_path: Path) -> None:
    """Without them no draft is made, and the first run ended with an error of another stage."""
    file = _write_recipe(tmp_path)
    assert "evaluation/law_phi" in recipe("check", file).stdout
    labelled = load_settings().data_dir / "evaluation" / "law_phi"
    labelled.mkdir(parents=True)
    (labelled / "reports.jsonl").write_text("{}\n", encoding="utf-8")
    assert "law_phi" not in recipe("check", file).stdout


def test_too_few_subjects_are_refused_although_the_examples_are_enough(tmp_path: Path) -> None:
    """Examples of one subject count once when a gain is tested."""
    folder = _write_reports(tmp_path / "batch", 120, subjects=30)
    (problem,) = _problems(_write_recipe(tmp_path), "--reports", folder)[-1:]
    assert "about 8 subjects" in problem


def test_equal_drafts_count_once(tmp_path: Path) -> None:
    """An instruction set keeps one of them."""
    folder = _write_reports(tmp_path / "batch", 2)
    for number in range(100):
        text = "CLAUSE\n\nPay.\n\nCLAUSE TYPE\n\npayment\n"
        (folder / f"same{number}.txt").write_text(f"---\nsubject_id: t{number}\n---\n{text}", encoding="utf-8")
    assert "make 3 different drafts" in _problems(_write_recipe(tmp_path), "--reports", folder)[0]
