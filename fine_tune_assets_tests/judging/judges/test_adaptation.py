"""A verifier is adapted to an installation's own examples: what trains it does not measure it, and it is kept only if better."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fine_tune_assets.cli.main import main
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.core.progress import Progress, ignore_progress
from fine_tune_assets.judging.judges.adaptation import (
    MIN_TRAINING_SUBJECTS,
    AdaptationPlan,
    adapt_verifier,
    split_own_reports,
)
from fine_tune_assets.judging.judges.adaptation_record import read_adaptation
from fine_tune_assets.judging.judges.own_domain import MIN_SUBJECTS
from fine_tune_assets.judging.judges.rubrics import read_rubric
from fine_tune_assets.judging.judges.statement_judge import StatementJudge
from fine_tune_assets.judging.judges.verifier.training_data.balanced_pairs import Report
from fine_tune_assets.judging.judges.verifier.training_reports import InvalidReportsError
from fine_tune_assets.judging.judges.verifier.verifier_files import (
    SHIPPED_FOLDER,
    read_card,
    read_weights,
    verifier_version,
    write_verifier,
)
from fine_tune_assets.judging.judges.verifier.verifier_reader import VerifierReader, open_verifier
from fine_tune_assets.judging.judges.verifier.verifier_sources import OwnReport
from fine_tune_assets_tests.conftest import write_recipe
from fine_tune_assets_tests.judging.judges.planted_errors.harbour_reports import harbour_reports
from fine_tune_assets_tests.lineage.stored_data import filled

WANTED = MIN_TRAINING_SUBJECTS + MIN_SUBJECTS


def _reports(train: int, validation: int = 0, test: int = 0) -> list[OwnReport]:
    splits = ["train"] * train + ["validation"] * validation + ["test"] * test
    return [
        OwnReport(split, "berth", Report(one.subject, one.answered.input, one.answered.output))
        for split, one in zip(splits, harbour_reports(len(splits)), strict=True)
    ]


def _judge(folder: Path = SHIPPED_FOLDER) -> StatementJudge:
    return StatementJudge(
        "verifier", VerifierReader(folder, 2), read_rubric("general", "general"), checks=("numbers", "units", "dates")
    )


@pytest.fixture
def deaf(tmp_path: Path) -> Path:
    """A verifier that gives every statement the same probability."""
    weights = {
        name: value * 0 if name.startswith(("sentence_head", "word_head")) else value
        for name, value in read_weights(SHIPPED_FOLDER).items()
    }
    folder = tmp_path / "deaf"
    folder.mkdir()
    write_verifier(folder, weights, {}, {})
    return folder


def _adapt(layout: Layout, base: Path, result: Path, reports: list[OwnReport], seen: list[Report] | None = None) -> Any:
    """Adapt `base`, with a training that gives the weights of `result`."""

    def train(trained: Any, plan: AdaptationPlan, _progress: Progress) -> Any:
        if seen is not None:
            seen.extend(trained)
        return read_weights(result), {"pairs": plan.pairs}

    plan = AdaptationPlan(base, 100, 1, 2)
    return adapt_verifier(layout, reports, _judge(base), "factual_accuracy", plan, ignore_progress, train)


@pytest.mark.parametrize(("train", "validation"), [(WANTED - 1, 0), (WANTED - 6, 5), (3, WANTED + 10), (0, 0)])
def test_too_few_subjects_are_refused_with_the_number_that_is_missing(train: int, validation: int) -> None:
    """The test split does not count."""
    with pytest.raises(InvalidReportsError) as refused:
        split_own_reports(_reports(train, validation, test=40))
    missing = max(WANTED - train - validation, MIN_TRAINING_SUBJECTS - train)
    assert f", {missing} too few." in str(refused.value)


def test_no_subject_is_in_two_parts_and_the_test_split_trains_nothing() -> None:
    parts = split_own_reports(_reports(WANTED + 20, 4, 10))
    trained, held_out, tested = (
        {one.report.subject for one in part} for part in (parts.training, parts.held_out, parts.tested)
    )
    assert not trained & held_out
    assert not trained & tested
    assert not held_out & tested
    assert len(held_out) >= MIN_SUBJECTS
    assert {one.split for one in parts.training} == {"train"}


@pytest.mark.slow
def test_a_better_verifier_is_kept_beside_the_old_one_under_the_fingerprint_that_judges(
    tmp_path: Path, deaf: Path
) -> None:
    """What was measured is what judges: the version in the record is the one in the judge's identity."""
    layout, reports, seen = Layout(tmp_path), _reports(WANTED + 2, 0, 3), list[Report]()
    copied = reports[-1].report
    leaking = OwnReport("train", "berth", Report("a copy", copied.record, copied.note))
    before = verifier_version(deaf)
    found = _adapt(layout, deaf, SHIPPED_FOLDER, [leaking, *reports], seen)
    assert found.is_better
    assert found.gain.low > 0
    assert verifier_version(deaf) == before == found.base
    folder = tmp_path / found.verifier
    assert VerifierReader(folder, 1).identity == {"verifier": found.trained} != VerifierReader(deaf, 1).identity
    assert read_adaptation(layout.verifiers) == found
    assert read_card(folder)["measured"][0]["kind"] == "all"
    # The copy of a test example is left out of the training, and so is every held-out subject.
    assert "a copy" not in {report.subject for report in seen}
    held_out = {one.report.subject for one in split_own_reports([leaking, *reports]).held_out}
    assert not held_out & {report.subject for report in seen}
    assert {one.kind for one in found.before} == {one.kind for one in found.after} > {"all", "number", "negation"}


@pytest.mark.slow
def test_a_verifier_that_is_not_better_is_deleted_and_its_measurement_stays(tmp_path: Path, deaf: Path) -> None:
    """The old one stays, and the page says that training was tried."""
    layout = Layout(tmp_path / "data")
    found = _adapt(layout, SHIPPED_FOLDER, deaf, _reports(WANTED))
    assert not found.is_better
    assert [path.name for path in layout.verifiers.iterdir()] == ["adaptation.json"]
    assert read_adaptation(layout.verifiers) == found


def test_answers_in_which_no_error_can_be_planted_are_refused(tmp_path: Path) -> None:
    plain = [OwnReport("train", "t", Report(str(n), "The gate leaks.", "The gate leaks.")) for n in range(WANTED)]
    with pytest.raises(InvalidReportsError, match="0 errors"):
        _adapt(Layout(tmp_path), SHIPPED_FOLDER, SHIPPED_FOLDER, plain)
    assert not (tmp_path / "verifiers").exists()


def test_too_few_subjects_beside_copies_of_tested_examples_are_refused(tmp_path: Path) -> None:
    """The training ended with an internal error, after a minute of measuring."""
    reports = _reports(WANTED)
    trained = {one.report.subject for one in split_own_reports(reports).training[1:]}
    copies = [OwnReport("test", "berth", one.report) for one in reports if one.report.subject in trained]
    with pytest.raises(InvalidReportsError, match=f"; {MIN_TRAINING_SUBJECTS} are needed"):
        _adapt(Layout(tmp_path), SHIPPED_FOLDER, SHIPPED_FOLDER, [*reports, *copies])


def _store(data: Path, reports: list[OwnReport]) -> None:
    rows = [
        {
            "example_id": str(number),
            "split": one.split,
            "task": "chief_complaint",
            "subject_key": one.report.subject,
            "is_general": False,
            "source": "yard",
            "messages": [
                {"role": "user", "content": f"Sum up.\n\n{one.report.record}"},
                {"role": "assistant", "content": one.report.note},
            ],
        }
        for number, one in enumerate(reports)
    ]
    write_table(Layout(data).table("instruction_sets"), filled("instruction_sets", rows))


def test_the_command_says_how_many_examples_are_missing(installation_dir: Path) -> None:
    write_recipe(installation_dir, judge={"rubric": "general"})
    result = CliRunner().invoke(main, ["verifier", "adapt"])
    assert result.exit_code == 1
    assert "too few" not in result.output  # approved examples are not missing, but their instruction set is
    assert "`fine-tune materialize instruction_sets`" in result.output
    _store(installation_dir, _reports(WANTED - 2, test=5))
    result = CliRunner().invoke(main, ["verifier", "adapt"])
    assert ", 2 too few." in result.output
    assert CliRunner().invoke(main, ["verifier", "adaptation"]).exit_code == 1


@pytest.mark.slow
def test_the_command_trains_measures_and_shows_both_verifiers(installation_dir: Path) -> None:
    """A short real training: whatever it gives, the stored result and the folders agree."""
    write_recipe(installation_dir, judge={"rubric": "general"}, domain="law")
    _store(installation_dir, _reports(WANTED, test=5))
    result = CliRunner().invoke(main, ["verifier", "adapt", "--pairs", "200"])
    assert result.exit_code == 0, result.output
    assert "Spot checks" in result.output
    assert "34 ratings" in result.output
    shown = CliRunner().invoke(main, ["verifier", "adaptation", "--json"])
    stored = json.loads(shown.output)
    assert stored["pairs"] >= 200
    assert stored["base"] == verifier_version(SHIPPED_FOLDER)
    assert {row["kind"] for row in stored["before"]} >= {"all", "number", "negation"}
    assert stored["is_better"] == bool(list((installation_dir / "verifiers").glob("adapted-*")))
    if stored["is_better"]:
        assert open_verifier(str(installation_dir / stored["verifier"]), 1).identity == {"verifier": stored["trained"]}
