"""What `fine-tune recipe new` and `recipe check` say about reports of several sources that spell their headings differently."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fine_tune_assets.approval.section_proposals import find_sections, propose_tasks
from fine_tune_assets.approval.task_kinds import ReportText
from fine_tune_assets.cli.judge_subjects import count_split_subjects, find_subject_needs
from fine_tune_assets.cli.main import main
from fine_tune_assets.cli.recipe_wizard import _count_answer_tokens
from fine_tune_assets.core.errors import RecipeError
from fine_tune_assets.core.keys import SUBJECTS_KEY, read_key
from fine_tune_assets.core.settings import PREFIX, load_settings
from fine_tune_assets.judging.judges.adaptation import MIN_TRAINING_SUBJECTS
from fine_tune_assets.judging.judges.own_domain import MIN_SUBJECTS
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.recipes.schema import SectionTask
from fine_tune_assets.reports.stated_identifiers import make_subject_key
from fine_tune_assets.tables.common_columns import HeadingLine
from fine_tune_assets.training.base_models.gguf_files import tokenize_with_llama_cpp
from fine_tune_assets.training.base_models.registration import bundled_gguf
from fine_tune_assets_tests.cli.foreign_domains import write_pack
from fine_tune_assets_tests.conftest import SAMPLE

_SOURCES = {
    "harbour": ("Scope of survey", "Findings", "RECOMMENDATION", "Valuation and signature"),
    "marine": ("Occasion", "Observations", "Assessment and recommendations", "Closing remarks"),
    "wessex": ("Instructions", "Survey findings", "Surveyor's recommendations", "Remarks"),
}
_NEEDED = 2 * MIN_SUBJECTS + MIN_TRAINING_SUBJECTS


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(f"{PREFIX}DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


def _text(headings: Sequence[str], n: int) -> str:
    scope, findings, advice, closing = headings
    return (
        f"{scope}\n\nThe owner of hull {n} asked for a look before berth {n + 3} is let again.\n\n"
        f"{findings}\n\nThe topsides show {n} cracks near frame {n + 1}, the anodes are worn and bolt {n} is loose.\n\n"
        f"{advice}\n\nRenew bolt {n}, seal the cracks and replace the anodes within {n + 7} days of launch.\n\n"
        f"{closing}\n\nSigned {n}.\n"
    )


def _write_batches(folder: Path, per_source: int, subjects: int | None = None) -> Path:
    for at, (source, headings) in enumerate(_SOURCES.items()):
        batch = folder / source
        batch.mkdir(parents=True)
        (batch / "batch.yaml").write_text(f"source: {source}\n", encoding="utf-8")
        for n in range(per_source):
            number = at * per_source + n
            subject = number if subjects is None else number % subjects
            text = f"---\nsubject_id: owner-{subject}\n---\n{_text(headings, number)}"
            (batch / f"r{n}.txt").write_text(text, encoding="utf-8")
    return folder


def _recipe(*words: object) -> Result:
    return CliRunner().invoke(main, ["recipe", *map(str, words)])


def _new(data: Path, per_source: int, *options: object, subjects: int | None = None) -> Result:
    folder = _write_batches(data.parent / "reports", per_source, subjects)
    return _recipe("new", "boats.yaml", "--domain", write_pack(data, "ships"), "--reports", folder, *options)


def test_the_proposal_makes_drafts_of_every_source(data: Path) -> None:
    """It proposed the closing remarks from sections of two sources, which no report has together: 0 drafts."""
    made = _new(data, 25)
    assert made.exit_code == 0, made.output
    (task,) = load_recipe("boats.yaml").tasks
    assert isinstance(task, SectionTask)
    assert set(task.output_section) == {headings[2] for headings in _SOURCES.values()}
    scopes, findings = task.input_sections
    assert set(scopes) == {headings[0] for headings in _SOURCES.values()}
    assert set(findings) == {headings[1] for headings in _SOURCES.values()}
    assert "75 drafts: " in made.stdout
    checked = json.loads(_recipe("check", "boats.yaml", "--reports", data.parent / "reports", "--json").stdout)
    assert checked["tasks"][0]["drafts"] == 75


def _reports(headings: Sequence[Sequence[str]], count: int = 12) -> list[ReportText]:
    return [
        ReportText(report_id=f"{source}/{n}", source=str(source), subject_key=f"{source}{n}", text=_text(names, n))
        for source, names in enumerate(headings)
        for n in range(count)
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Recommendation", "RECOMMENDATIONS"),
        ("Recommendation", "Surveyor's recommendations"),
        ("Recommended action", "Recommendations to owner"),
    ],
)
def test_spellings_of_a_heading_are_one_section(one: str, other: str) -> None:
    names = [("Scope", "Findings", spelling, "Signature") for spelling in (one, other)]
    best = propose_tasks(find_sections(_reports(names)))[0]
    assert (set(best.output), best.drafts) == ({one, other}, 24)


def test_headings_that_reports_have_together_are_not_one_section() -> None:
    """`Survey report` and `Survey findings` share a word."""
    names = [("Survey report", "Survey findings", "Recommendation", "Signature")] * 2
    best = propose_tasks(find_sections(_reports(names)))[0]
    assert best.inputs == (("Survey report",), ("Survey findings",))
    assert best.output == ("Recommendation",), "not the short last one"


def test_a_heading_style_in_a_few_reports_of_a_source_is_a_section() -> None:
    """Of 64 Word files, 12 name it differently: fewer than one in five, but each says that it is a heading."""
    reports = _reports([("Scope", "Findings", "Recommendations", "Signature")], 40)
    for n in range(6):
        text = _text(("Scope", "Findings", "Recommended action", "Signature"), n)
        levels = [HeadingLine(line=at, level=1) for at, one in enumerate(text.splitlines(), 1) if one[-6:] == "action"]
        reports.append(
            ReportText(report_id=f"0/x{n}", source="0", subject_key=f"x{n}", text=text, headings=tuple(levels))
        )
    best = propose_tasks(find_sections(reports))[0]
    assert (best.output, best.drafts) == (("Recommendations", "Recommended action"), 46)


def test_no_proposal_is_without_a_draft_whatever_the_sources_share() -> None:
    """Any choice of headings per source: each proposed task counts at least one report that has all of its sections."""
    for shift in range(4):
        names = [tuple(f"{letter}{chr(97 + (at + shift) % 4) * 5}" for at in range(4)) for letter in "QXZ"]
        sections = find_sections(_reports(names, 6))
        proposed = propose_tasks(sections)
        assert proposed
        members = {one.heading: one.members for one in sections}
        for task in proposed:
            having = [
                frozenset[int]().union(*(members[one] for one in spelled)) for spelled in (*task.inputs, task.output)
            ]
            assert task.drafts == len(frozenset.intersection(*having)) > 0


def test_reports_without_a_task_are_named_by_source(data: Path, tmp_path: Path) -> None:
    """Without a terminal, only then are the options required."""
    for source in ("harbour", "marine"):
        (tmp_path / "plain" / source).mkdir(parents=True)
        (tmp_path / "plain" / source / "batch.yaml").write_text(f"source: {source}\n", encoding="utf-8")
        for n in range(4):
            text = f"---\nsubject_id: s{n}\n---\nNothing but text {n}.\n"
            (tmp_path / "plain" / source / f"r{n}.txt").write_text(text, encoding="utf-8")
    made = _recipe("new", "x.yaml", "--domain", write_pack(data, "ships"), "--reports", tmp_path / "plain")
    assert (made.exit_code, Path("x.yaml").exists()) == (2, False)
    assert all(f"{source}: 4 reports, 0 common sections" in made.output for source in ("harbour", "marine"))


def test_a_task_without_drafts_says_why_for_each_source(data: Path) -> None:
    """ "The reasons are above" stood below nothing."""
    made = _new(data, 25, "--output", "Remarks", "--input", "Findings")
    assert made.exit_code == 1
    assert "harbour: 25 without a draft, no section: Remarks" in made.stderr
    assert "wessex: 25 without a draft, no section: Findings" in made.stderr
    assert "above" not in made.stderr
    assert "show no gain" not in made.stdout


def test_spellings_can_be_answered_in_one_option(data: Path) -> None:
    _new(data, 25, "--output", "RECOMMENDATION | Surveyor's recommendations", "--input", "Findings | Survey findings")
    (task,) = load_recipe("boats.yaml").tasks
    assert isinstance(task, SectionTask)
    assert task.output_section == ("RECOMMENDATION", "Surveyor's recommendations")
    assert task.input_sections == (("Findings", "Survey findings"),)
    assert task.name == "recommendation"


_PATTERN = ("--output", "/recommend|what should be done/", "--task", "advise", "--instruction", "Advise.")


def test_a_pattern_that_is_a_part_of_headings_is_named_with_one_that_matches(data: Path) -> None:
    """It matched nothing, with the heading listed right above."""
    made = _new(data, 25, *_PATTERN, "--input", "Findings")
    assert made.exit_code == 1
    assert "must match the whole heading" in made.stderr
    assert "RECOMMENDATION" in made.stderr
    assert "/.*(recommend|what should be done).*/" in made.stderr
    checked = _recipe("check", "boats.yaml", "--reports", data.parent / "reports")
    assert checked.exit_code == 1
    assert "/.*(recommend|what should be done).*/" in checked.stderr


def test_a_pattern_that_matches_some_headings_whole_and_others_in_part_is_noted(data: Path) -> None:
    _new(data, 25, "--output", "RECOMMENDATION", "--input", "/findings/")
    command = ("check", "boats.yaml", "--reports", data.parent / "reports", "--json")
    assert any("/.*findings.*/" in note for note in json.loads(_recipe(*command).stdout)["notes"])
    text = Path("boats.yaml").read_text(encoding="utf-8").replace("/findings/", "/.*findings.*/")
    Path("boats.yaml").write_text(text, encoding="utf-8")
    assert not any("findings" in note for note in json.loads(_recipe(*command).stdout)["notes"])


def test_other_headings_outside_a_task_are_refused_with_their_place(data: Path) -> None:
    _new(data, 25)
    text = Path("boats.yaml").read_text(encoding="utf-8")
    Path("boats.yaml").write_text(f"other_headings: [Remarks]\n{text}", encoding="utf-8")
    with pytest.raises(RecipeError, match=r"other_headings into the task .*tasks: \[\{name"):
        load_recipe("boats.yaml")


def test_the_split_leaves_subjects_to_qualify_and_to_adapt_the_judge_if_there_are_enough(data: Path) -> None:
    """With 28 % in the test split, the smallest possible number of subjects left too few of them there."""
    made = _new(data, 25, subjects=_NEEDED)
    recipe, key = load_recipe("boats.yaml"), read_key(load_settings().subject_keys / f"{SUBJECTS_KEY}.key")
    tested, others = count_split_subjects(recipe.split, [make_subject_key(key, f"owner-{n}") for n in range(_NEEDED)])
    assert (tested, others) == (MIN_SUBJECTS, MIN_SUBJECTS + MIN_TRAINING_SUBJECTS)
    assert f"{_NEEDED} vessels have drafts, {tested} of them in the test split" in made.output
    assert "before anybody reviews" not in made.output
    assert made.exit_code == 0, made.output


def test_too_few_subjects_are_said_with_the_number_that_is_missing_before_anybody_reviews(data: Path) -> None:
    """`verifier adapt` said it after all the reviews."""
    made = _new(data, 25, subjects=_NEEDED - 7)
    assert "Add reports of at least 7 other vessels before anybody reviews" in made.output
    checked = _recipe("check", "boats.yaml", "--reports", data.parent / "reports", "--json")
    (counts, step) = json.loads(checked.stdout)["notes"]
    assert f"{MIN_SUBJECTS} in the test split are needed to qualify" in counts
    assert f"{MIN_TRAINING_SUBJECTS} that train it, {MIN_SUBJECTS} that measure it" in counts
    assert "at least 7 other vessels" in step


def test_enough_subjects_in_a_split_that_leaves_none_to_measure_are_noticed(data: Path) -> None:
    _new(data, 25)
    text = Path("boats.yaml").read_text(encoding="utf-8")
    share = f"{load_recipe('boats.yaml').split.test_fraction:.2f}"
    Path("boats.yaml").write_text(text.replace(f"test_fraction: {share}", "test_fraction: 0.9"), encoding="utf-8")
    checked = _recipe("check", "boats.yaml", "--reports", data.parent / "reports", "--json")
    assert any("not in each split" in note for note in json.loads(checked.stdout)["notes"])


def test_the_shipped_ratings_need_no_subjects() -> None:
    assert find_subject_needs(load_recipe("demo_smollm2")) is None


def test_the_answers_of_the_samples_fit_into_the_estimated_tokens() -> None:
    """An estimate below the tokenizer's count would cut answers; far above it, a base model writes on for minutes."""
    with (SAMPLE / "raw_reports" / "2026-02-dialogues" / "visits.csv").open(encoding="utf-8", newline="") as file:
        texts = [row["section_text"] for row in csv.DictReader(file)]
    counted = [len(tokens) for tokens in tokenize_with_llama_cpp(bundled_gguf(), texts)]
    estimated = [_count_answer_tokens(text) for text in texts]
    assert all(few <= many for few, many in zip(counted, estimated, strict=True))
    assert sum(estimated) <= 2 * sum(counted)
