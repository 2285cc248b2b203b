"""`fine-tune recipe new` on domains that no pack covers: what it writes, and whether what it promises is true."""

import json
import os
import pty
import re
import select
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from fine_tune_assets.approval.section_proposals import find_sections, propose_inputs, propose_tasks
from fine_tune_assets.approval.task_kinds import ReportText
from fine_tune_assets.claims.sections import list_heading_variants
from fine_tune_assets.cli.main import main
from fine_tune_assets.cli.new_recipes import (
    TASK_TEST_EXAMPLES,
    TEMPLATE,
    RecipeAnswers,
    TaskAnswers,
    plan_split,
    write_recipe,
)
from fine_tune_assets.cli.recipe_wizard import has_day_first_dates
from fine_tune_assets.core.keys import SUBJECTS_KEY, read_key
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.settings import PREFIX, load_settings
from fine_tune_assets.instructions.splits import SplitRule
from fine_tune_assets.recipes.domain_packs import load_pack, shipped_packs
from fine_tune_assets.recipes.error_levels import fewest_subjects
from fine_tune_assets.recipes.gate_reach import detectable_gain, list_obstacles, list_task_needs
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.recipes.schema import SectionTask
from fine_tune_assets.reports.stated_identifiers import make_subject_key
from fine_tune_assets_tests.cli.foreign_domains import FOREIGN, write_damage_csv, write_pack, write_ship_texts

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


def test_without_a_draft_nothing_is_said_about_drafts(data: Path) -> None:
    """A line "0 drafts: 0 train, …, if every draft is approved" came before the problem that explains it."""
    made = _new(data, "damage", 30, "--output", "Cause", "--input", "Scope of damage", "--labels", "x, y")
    assert made.exit_code == 1
    assert "output is no label of the task" in made.output
    assert "0 drafts" not in made.output
    assert "0 min" not in made.output


_REMARK = "Sealed spaces were not opened"


def _add_to_ships(folder: Path, lines: str) -> None:
    for file in folder.iterdir():
        file.write_text(f"{file.read_text(encoding='utf-8').rstrip()}\n\n{lines}\n", encoding="utf-8")


def test_closing_remarks_inside_outputs_are_counted(data: Path) -> None:
    """They ended up in all outputs, and only a reader of `--drafts` could notice."""
    folder = data.parent / "ships-batch"
    write_ship_texts(folder, 70)
    _add_to_ships(folder, f"{_REMARK}, and nothing was tested under load.")
    options = ("--domain", write_pack(data, "ships"), "--reports", folder, "--output", "Recommendation")
    made = _recipe("new", "ships.yaml", *options, "--input", "Observations", "--task", "advice")
    note = "tasks.advice: of 70 outputs, 70 end with a line that many of them share"
    assert note in made.output
    assert _REMARK not in made.output
    checked = _recipe("check", "ships.yaml", "--reports", folder, "--json", "--drafts")
    found = json.loads(checked.stdout)
    assert any(note in one for one in found["notes"])
    assert [(one["drafts"], one["line"].startswith(_REMARK)) for one in found["shared_ends"]] == [(70, True)]
    shown = _recipe("check", "ships.yaml", "--reports", folder, "--drafts").stdout
    assert f"100.0%  {_REMARK}" in shown


def test_a_line_inside_an_output_that_looks_like_a_heading_is_counted(data: Path) -> None:
    """A style below that of the section, so the section continues."""
    folder = data.parent / "ships-batch"
    write_ship_texts(folder, 70)
    for file in folder.glob("*.md"):
        file.write_text(
            file.read_text(encoding="utf-8") + f"\n### Sign-off\n\nSigned by number {file.stem}.\n", "utf-8"
        )
    options = ("--domain", write_pack(data, "ships"), "--reports", folder, "--output", "Recommendation")
    made = _recipe("new", "ships.yaml", *options, "--input", "Observations", "--task", "advice")
    assert "tasks.advice: of 70 outputs, 35 contain a line that looks like a heading." in made.output


def test_a_section_inside_another_one_is_named_and_ends_it_on_request(data: Path) -> None:
    """The wizard listed it, and left it inside the one before without a word. It may also be a part of that section."""
    folder = data.parent / "ships-batch"
    write_ship_texts(folder, 70)
    for number, file in enumerate(sorted(folder.glob("*.md"))):
        text = file.read_text(encoding="utf-8")
        file.write_text(f"{text}\n### Next visit\n\nIn {number + 2} weeks by the same surveyor.\n", "utf-8")
    options = ("--domain", write_pack(data, "ships"), "--reports", folder, "--output", "Recommendation")
    made = _recipe("new", "ships.yaml", *options, "--input", "Observations", "--task", "advice")
    assert "Inside another section in some reports: Next visit." in made.output
    check = ("check", "ships.yaml", "--reports", folder, "--json", "--drafts")
    assert "by the same surveyor" in _recipe(*check).stdout
    recipe = Path("ships.yaml").read_text(encoding="utf-8")
    Path("ships.yaml").write_text(recipe.replace("# other_headings:", "other_headings:"), "utf-8")
    assert load_recipe("ships.yaml").tasks[0].other_headings == ("Next visit",)
    assert "by the same surveyor" not in _recipe(*check).stdout


@pytest.mark.parametrize(
    ("texts", "is_first"),
    [
        (["seen on 28/02/2022", "again on 03/04/2022"], True),
        (["seen on 02/28/2022"], False),
        (["28/02/2022", "02/28/2022"], False),
        (["03/04/2022", "version 28.2.1", "2022-02-28"], False),
    ],
)
def test_the_order_of_day_and_month_follows_from_the_reports(texts: list[str], is_first: bool) -> None:
    assert has_day_first_dates(texts) is is_first


def test_outputs_with_numbers_that_their_input_lacks_are_noted(data: Path) -> None:
    """The gate holds a candidate that guesses them, after all reviews."""
    folder = data.parent / "ships-batch"
    write_ship_texts(folder, 70)
    options = ("--domain", write_pack(data, "ships"), "--reports", folder, "--output", "Recommendation")
    words = ("new", "ships.yaml", *options, "--input", "Observations", "--task", "advice")
    made = _recipe(*words)
    assert "70 of 70 outputs state numbers that their input lacks" in made.output
    assert "70 of 70 outputs" in _recipe("check", "ships.yaml", "--reports", folder).output
    for file in folder.iterdir():
        before, heading, after = re.split("(recommendation)", file.read_text("utf-8"), maxsplit=1, flags=re.IGNORECASE)
        file.write_text(before + heading + re.sub(r"\d+", "several", after), encoding="utf-8")
    assert "their input lacks" not in _recipe("check", "ships.yaml", "--reports", folder).output


@pytest.mark.parametrize("name", FOREIGN)
def test_outputs_that_end_with_their_section_have_no_such_note(data: Path, name: str) -> None:
    """A note about every recipe would be ignored."""
    assert "outputs, " not in _new(data, name, 70).output


def test_no_text_of_a_report_is_printed(data: Path) -> None:
    """A cause of damage is a harmless value; the name of an adjuster would look the same."""
    printed = _new(data, "damage", 70).output
    assert not any(word in printed for word in ("burst pipe", "hail", "kitchen"))


def _texts(texts: Sequence[str]) -> list[ReportText]:
    return [
        ReportText(report_id=f"b/{n}", source="site", subject_key=f"s{n}", text=text) for n, text in enumerate(texts)
    ]


def test_sections_are_found_by_repetition_and_values_are_not_taken_for_headings() -> None:
    texts = [f"Findings\n\nCrack {n}.\n\nNone\n\nNone\n\nClass\n\nminor\n" for n in range(9)]
    found = find_sections(_texts(texts))
    assert [one.heading for one in found] == ["Findings", "Class"]
    assert found[1].is_label
    assert propose_tasks(found)[0].output == ("Class",)
    assert propose_inputs(found, ["Class"]) == (("Findings",),)


def test_a_section_that_is_written_in_several_forms_is_one_section() -> None:
    """The form that most reports use names it; a number or Markdown is no other section."""
    forms = ["Findings", "FINDINGS:", "## Findings", "1. Findings"]
    texts = [f"{forms[min(n % 6, 3)]}\n\nCrack {n}.\n\nAdvice\n\nSeal {n}.\n" for n in range(24)]
    found = find_sections(_texts(texts))
    assert [(one.heading, one.reports) for one in found] == [("Findings", 24), ("Advice", 24)]


def test_on_a_terminal_it_asks_and_takes_the_proposals(data: Path) -> None:
    write_damage_csv(data.parent / "batch", 70)
    write_pack(data, "damage")
    answers = ["batch", "packs/damage", "", "", "", "", "", "", ""]
    screen = _answer([sys.executable, "-m", "fine_tune_assets.cli.main", "recipe", "new", "asked.yaml"], answers)
    assert "Domain pack (clinical, finance, law, packs/damage)" in screen
    assert "Sections that the model learns to write, each one a task, separated by commas [Cause]" in screen
    assert load_recipe("asked.yaml").domain == "packs/damage", screen


def test_on_a_terminal_each_named_section_becomes_a_task_with_its_own_questions(data: Path) -> None:
    """The wizard wrote a single task, and reports with two answers needed an editor."""
    write_ship_texts(data.parent / "batch", 70)
    write_pack(data, "ships")
    answers = ["batch", "packs/ships", "2, Recommendation", "", "", "", "", "1", "advice", "", "", "", ""]
    screen = _answer([sys.executable, "-m", "fine_tune_assets.cli.main", "recipe", "new", "two.yaml"], answers)
    assert "Sections that the model reads for Recommendation [Observations]" in screen
    measured, advice = load_recipe("two.yaml").tasks
    assert isinstance(measured, SectionTask)
    assert isinstance(advice, SectionTask)
    assert (measured.name, measured.input_sections, measured.output_section) == (
        "measurements",
        ("Observations",),
        "Measurements",
    )
    assert (advice.name, advice.input_sections, advice.output_section) == (
        "advice",
        ("Observations",),
        "Recommendation",
    )


def test_options_make_several_tasks_that_pass_the_check(data: Path) -> None:
    """Each has its name, instruction and inputs; the split gives each the test examples that the gate needs."""
    made = _new(
        *(data, "ships", 80, "--output", "Measurements", "--output", "Recommendation"),
        *("--input", "Observations", "--input", "Observations, Measurements"),
        *("--task", "measure", "--task", "advise", "--instruction", "State measures.", "--instruction", "Advise."),
    )
    assert made.exit_code == 0, made.output
    recipe = load_recipe("ships.yaml")
    written = [(one.name, one.instruction, one.used_headings) for one in recipe.tasks if isinstance(one, SectionTask)]
    assert written == [
        ("measure", "State measures.", ("Observations", "Measurements")),
        ("advise", "Advise.", ("Observations", "Measurements", "Recommendation")),
    ]
    assert list_obstacles(recipe) == []
    checked = _recipe("check", "ships.yaml", "--reports", data.parent / "ships-batch", "--json")
    assert checked.exit_code == 0, checked.output
    needs = {need.task: need for need in list_task_needs(recipe)}
    for task in json.loads(checked.stdout)["tasks"]:
        need = needs[task["task"]]
        assert task["test_drafts"] >= task["needed_test_examples"] == need.test_examples == TASK_TEST_EXAMPLES
        assert task["needed_examples"] == need.examples
        assert f"{task['task']}: needs {need.examples} approved examples, 20 of them in the test split" in made.stdout


def test_the_check_says_for_each_task_what_the_gate_needs(data: Path) -> None:
    _new(data, "ships", 80, "--output", "Measurements", "--output", "Recommendation")
    printed = _recipe("check", "ships.yaml", "--any-machine").stdout
    for need in list_task_needs(load_recipe("ships.yaml")):
        assert f"{need.task}: needs {need.examples} approved examples, {need.test_examples} of them" in printed
    with_reports = _recipe("check", "ships.yaml", "--reports", data.parent / "ships-batch").stdout
    assert with_reports.count("20 of them in the test split; ") == 2


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--task", "one"), "--task"),
        (("--instruction", "a", "--instruction", "b", "--instruction", "c"), "--instruction"),
        (("--labels", "a,b"), "--labels"),
        (("--input", "Observations", "--input", "Observations", "--input", "Observations"), "--input"),
        (("--input", "Measurements"), "--input"),
        (("--task", "same", "--task", "same"), "same"),
    ],
)
def test_options_that_fit_no_task_are_refused_before_anything_is_written(
    data: Path, options: tuple[str, ...], named: str
) -> None:
    refused = _new(data, "ships", 70, "--output", "Measurements", "--output", "Recommendation", *options)
    assert (refused.exit_code, named in refused.stderr, Path("ships.yaml").exists()) == (2, True, False)


def test_sections_in_another_alphabet_get_tasks_with_different_names(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "batch"
    folder.mkdir()
    for n in range(80):
        text = f"Наблюдения\n\nТрещина {n}.\n\nОценка, краткая\n\nРиск {n} низкий.\n\nСовет\n\nЗаделать {n}.\n"
        (folder / f"r{n}.txt").write_text(f"---\nsubject_id: s{n}\n---\n{text}", encoding="utf-8")
    outputs = ("--output", "Оценка, краткая", "--output", "Совет", "--input", "Наблюдения")
    made = _recipe("new", "x.yaml", "--domain", write_pack(data, "ships"), "--reports", folder, *outputs)
    assert made.exit_code == 0, made.output
    assert [task.name for task in load_recipe("x.yaml").tasks] == ["task", "task_2"]
    assert _recipe("check", "x.yaml", "--reports", folder).exit_code == 0


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


@pytest.mark.parametrize(("tokens", "epochs"), [(0, 2), (10_000, 2), (40_000, 1)])
def test_a_recipe_for_a_processor_trains_for_about_ten_minutes(tokens: int, epochs: int) -> None:
    """The first training of a newcomer with 133 examples would have taken over half an hour of processor time."""
    task = TaskAnswers("plan", "Write the plan.", ("Findings",), "Plan")
    answers = RecipeAnswers("short", "packs/general", "general", (task,), draft_tokens=tokens)
    text = write_recipe(answers, "salt")
    assert yaml.safe_load(text)["training"]["epochs"] == epochs
    assert ("minutes on two cores" in text) == bool(tokens)


def _write_alike(folder: Path, count: int, others: str) -> Path:
    """Reports whose inputs share most of their words, as forms with few free fields do."""
    folder.mkdir()
    for n in range(count):
        free = " ".join(f"{word}{n}" for word in others.split())
        text = f"Findings\n\n{_FORM} {free}\n\nAdvice\n\nSeal joint {n} before day {n + 9}.\n"
        (folder / f"r{n}.txt").write_text(f"---\nsubject_id: s{n}\n---\n{text}", encoding="utf-8")
    return folder


_FORM = (
    "The lift was inspected with an empty car. Doors, ropes, buffers and brake were tested as the plan requires. "
    "The machine room was dry and locked."
)


def _new_lifts(data: Path, folder: Path) -> Result:
    pack = write_pack(data, "ships")
    return _recipe("new", "lifts.yaml", "--domain", pack, "--reports", folder, "--output", "Advice")


def test_drafts_that_nearly_repeat_another_split_are_told_before_review(data: Path, tmp_path: Path) -> None:
    """All were reviewed, and then the instruction set left them out as repetitions."""
    folder = _write_alike(tmp_path / "same", 80, "car")
    made = _new_lifts(data, folder)
    assert made.exit_code == 1
    assert "dedup.near_threshold" in made.stderr
    checked = _recipe("check", "lifts.yaml", "--reports", folder)
    assert checked.exit_code == 1
    assert "Problem: dedup.near_threshold" in checked.stderr


def test_the_wizard_raises_the_threshold_if_that_keeps_enough_drafts(data: Path, tmp_path: Path) -> None:
    folder = _write_alike(tmp_path / "alike", 80, "car door rope brake buffer pit shaft motor")
    made = _new_lifts(data, folder)
    assert made.exit_code == 0, made.output
    recipe = load_recipe("lifts.yaml")
    assert recipe.dedup.near_threshold > 0.5
    assert f"dedup.near_threshold is {recipe.dedup.near_threshold}" in made.output
    assert _recipe("check", "lifts.yaml", "--reports", folder).exit_code == 0
