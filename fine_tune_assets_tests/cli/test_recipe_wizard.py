"""`fine-tune recipe new` on domains that no pack covers: what it writes, and whether what it promises is true."""

import os
import pty
import re
import select
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fine_tune_assets.approval.section_proposals import find_sections, propose_task
from fine_tune_assets.claims.sections import list_heading_variants
from fine_tune_assets.cli.main import main
from fine_tune_assets.cli.new_recipes import TASK_TEST_EXAMPLES, TEMPLATE, plan_split
from fine_tune_assets.core.keys import SUBJECTS_KEY, read_key
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.settings import PREFIX, load_settings
from fine_tune_assets.instructions.splits import SplitRule
from fine_tune_assets.recipes.domain_packs import load_pack, shipped_packs
from fine_tune_assets.recipes.error_levels import fewest_subjects
from fine_tune_assets.recipes.gate_reach import detectable_gain, list_obstacles
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.recipes.schema import SectionTask
from fine_tune_assets.reports.stated_identifiers import make_subject_key
from fine_tune_assets_tests.cli.foreign_domains import FOREIGN, write_damage_csv, write_pack

_SUBJECTS = {"damage": "h", "ships": "vessel-", "grievances": "p"}


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(f"{PREFIX}DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


def _recipe(*words: object) -> Result:
    return CliRunner().invoke(main, ["recipe", *map(str, words)])


def _new(data: Path, name: str, count: int, *options: object) -> Result:
    folder = data.parent / f"{name}-batch"
    FOREIGN[name][0](folder, count)
    domain = write_pack(data, name)
    return _recipe("new", f"{name}.yaml", "--domain", domain, "--reports", folder, *options)


@pytest.mark.parametrize("name", FOREIGN)
def test_the_recipe_of_a_foreign_domain_passes_the_check_that_refuses_dead_ends(data: Path, name: str) -> None:
    """The wizard wrote a recipe for a GPU with 500 examples, which nobody with 60 reports could bring to a verdict."""
    made = _new(data, name, 70)
    assert made.exit_code == 0, made.output
    recipe = load_recipe(f"{name}.yaml")
    assert (recipe.base_model.folder, recipe.training.method, recipe.engine) == (None, "lora", "llama_cpp")
    assert list_obstacles(recipe) == []
    checked = _recipe("check", f"{name}.yaml", "--reports", data.parent / f"{name}-batch")
    assert checked.exit_code == 0, checked.output
    (task,) = recipe.tasks
    assert isinstance(task, SectionTask)
    headings = [list_heading_variants(one)[0] for one in (*task.input_sections, task.output_section)]
    assert sorted(headings) == sorted(FOREIGN[name][1])


@pytest.mark.parametrize("name", FOREIGN)
def test_the_promised_split_is_the_one_that_the_installation_will_make(data: Path, name: str) -> None:
    printed = _new(data, name, 70).stdout
    recipe, key = load_recipe(f"{name}.yaml"), read_key(load_settings().subject_keys / f"{SUBJECTS_KEY}.key")
    rule = SplitRule(recipe.split)
    splits = [rule.assign(make_subject_key(key, f"{_SUBJECTS[name]}{n}")) for n in range(70)]
    tested = splits.count("test")
    assert tested >= recipe.gate.minimum_examples
    assert f"{tested} test" in printed
    gain = detectable_gain(recipe.gate, tested)
    assert gain is not None
    assert f"a gain of {gain:.2f} points" in printed
    assert f"needs {recipe.split.minimum_examples} approved examples" in printed


@pytest.mark.parametrize("name", FOREIGN)
def test_the_recipe_contains_no_word_of_another_domain(data: Path, name: str) -> None:
    """Leftovers of clinical recipes told an insurer to look at doses and sides."""
    _new(data, name, 30)
    text = Path(f"{name}.yaml").read_text(encoding="utf-8")
    found = [
        word for word in _foreign_words() if re.search(rf"(?<![\w_]){re.escape(word)}(?![\w_])", text, re.IGNORECASE)
    ]
    assert found == []
    sections = {heading for pack in shipped_packs() for heading in load_pack(pack).section_names if " " in heading}
    assert [heading for heading in sections if heading in text] == []


def _foreign_words() -> set[str]:
    """Names and nouns of the shipped packs, their medicines, and words that their recipes use."""
    words = {
        *(
            "patient",
            "clinician",
            "clinic",
            "diagnosis",
            "dose",
            "doses",
            "sides",
            "visit",
            "ward",
            "hospital",
            "pubmed_qa",
            "pubmed",
        ),
        *(
            "clause",
            "contract",
            "obligation",
            "complaint",
            "bank",
            "mts-dialog",
            "law-samples",
            "assessment",
            "dialogue",
        ),
    }
    for name in shipped_packs():
        pack = load_pack(name)
        nouns = {pack.pack.subject.one, pack.pack.subject.many, pack.pack.report.one, pack.pack.report.many}
        words |= {name, *nouns} - {"report", "reports", "document", "documents"}
        words |= {word for word in pack.read_words("medicine_names") if len(word) > 4}
    return words - {"general"}


def test_the_template_is_neutral_before_anything_is_filled_in() -> None:
    text = TEMPLATE.read_text(encoding="utf-8")
    assert [
        word for word in _foreign_words() if re.search(rf"(?<![\w_]){re.escape(word)}(?![\w_])", text, re.IGNORECASE)
    ] == []


def test_too_few_reports_are_said_at_once_with_the_number_that_is_enough(data: Path) -> None:
    """It was said after 60 reviews."""
    made = _new(data, "damage", 30)
    assert made.exit_code == 1
    assert "Problem: split.minimum_examples: 50 approved examples are required" in made.stderr
    assert Path("damage.yaml").is_file()


def test_the_needed_examples_follow_from_the_rule_of_the_gate() -> None:
    recipe = plan_split(1, None)
    assert recipe.test_examples >= max(TASK_TEST_EXAMPLES, fewest_subjects(0.05 / 52) or 0)
    for tasks in (1, 2, 3):
        plan = plan_split(tasks, None)
        assert plan.minimum_examples * plan.test_fraction >= tasks * TASK_TEST_EXAMPLES - 1e-9


def test_reports_without_common_headings_need_the_options(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    for n in range(4):
        (folder / f"r{n}.txt").write_text(f"---\nsubject_id: s{n}\n---\nNothing but text {n}.\n", encoding="utf-8")
    made = _recipe("new", "x.yaml", "--domain", write_pack(data, "ships"), "--reports", folder)
    assert (made.exit_code, "--output" in made.stderr, Path("x.yaml").exists()) == (2, True, False)


def test_options_outrank_what_the_reports_show(data: Path) -> None:
    options = ("--output", "Course of events", "--input", "Scope of damage", "--task", "events", "--labels", "a, b")
    _new(data, "damage", 70, *options)
    (task,) = load_recipe("damage.yaml").tasks
    assert isinstance(task, SectionTask)
    assert (task.name, task.input_sections, task.output_section) == ("events", ("Scope of damage",), "Course of events")
    assert task.labels == ("a", "b")


def test_a_path_of_a_pack_is_accepted_from_the_current_folder_too(data: Path) -> None:
    write_damage_csv(data.parent / "batch", 70)
    write_pack(data, "damage")
    made = _recipe("new", "damage.yaml", "--domain", "data/packs/damage", "--reports", "batch")
    assert made.exit_code == 0, made.output
    assert load_recipe("damage.yaml").domain == "packs/damage"


def test_a_large_model_is_proposed_for_a_gpu_alone(data: Path) -> None:
    refused = _new(data, "damage", 70, "--hardware", "cpu", "--base-model", "base_models/large")
    assert (refused.exit_code, Path("damage.yaml").exists()) == (2, False)
    made = _recipe(
        *("new", "damage.yaml", "--domain", "packs/damage", "--reports", data.parent / "damage-batch"),
        *("--hardware", "gpu", "--base-model", "base_models/large"),
    )
    recipe = load_recipe("damage.yaml")
    assert (recipe.base_model.folder, recipe.training.method) == ("base_models/large", "qlora")
    assert made.exit_code == 1, "neither the model nor a GPU is here"
    assert "base_model.folder" in made.stderr


def test_no_text_of_a_report_is_printed(data: Path) -> None:
    """A cause of damage is a harmless value; the name of an adjuster would look the same."""
    printed = _new(data, "damage", 70).output
    assert not any(word in printed for word in ("burst pipe", "hail", "kitchen"))


def test_sections_are_found_by_repetition_and_values_are_not_taken_for_headings() -> None:
    texts = [f"Findings\n\nCrack {n}.\n\nNone\n\nNone\n\nClass\n\nminor\n" for n in range(9)]
    found = find_sections(texts)
    assert [one.heading for one in found] == ["Findings", "Class"]
    assert found[1].is_label
    proposal = propose_task(found)
    assert proposal is not None
    assert (proposal.inputs, proposal.output) == (("Findings",), "Class")


def test_on_a_terminal_it_asks_and_takes_the_proposals(data: Path) -> None:
    write_damage_csv(data.parent / "batch", 70)
    write_pack(data, "damage")
    answers = ["batch", "packs/damage", "", "", "", "", "", "", ""]
    screen = _answer([sys.executable, "-m", "fine_tune_assets.cli.main", "recipe", "new", "asked.yaml"], answers)
    assert "Domain pack (clinical, finance, law, packs/damage)" in screen
    assert "Section that the model learns to write [Cause]" in screen
    assert load_recipe("asked.yaml").domain == "packs/damage", screen


def _answer(command: list[str], answers: list[str]) -> str:
    """The screen of a program on a terminal that answers each question, which ends with `: `."""
    process, terminal = pty.fork()
    if process == 0:
        os.execve(command[0], command, {**os.environ, "PYTHONPATH": str(PROJECT_DIR)})
    screen, waiting, deadline = "", list(answers), time.monotonic() + 240
    while time.monotonic() < deadline:
        ready, _, _ = select.select([terminal], [], [], 1)
        if ready:
            try:
                screen += os.read(terminal, 4096).decode("utf-8", "replace")
            except OSError:
                break
        elif screen.endswith(": ") and waiting:
            os.write(terminal, (waiting.pop(0) + "\n").encode())
    os.waitpid(process, 0)
    return screen
