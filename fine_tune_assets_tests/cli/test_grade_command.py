"""`fine-tune eval grade` and `fine-tune eval compare`: a team tries a judge on its own answers."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner, Result

from fine_tune_assets.cli.main import main
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.judging.judges.formula_judge import formula_judge
from fine_tune_assets.recipes.loader import load_recipe, shipped_recipes
from fine_tune_assets.tables.judging_rows import JudgeAgreement
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets_tests.judging.chat_server import MODEL, ChatServerOfATest, completion, grade_reply
from fine_tune_assets_tests.judging.verdict_inputs import agreement

MARKER = "Zyxwvutquark"
ASKED = {"instruction": "Name the complaint.", "input": "A cough for 3 weeks."}
GOOD = {"id": 7, **ASKED, "output": "Cough for 3 weeks.", "reference": "Cough for 3 weeks."}
BAD = {"id": "b", **ASKED, "output": "Headache for 5 days.", "reference": "Cough for 3 weeks."}


@pytest.fixture(autouse=True)
def _no_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINE_TUNE_DATA_DIR", str(tmp_path / "none"))


@pytest.fixture
def endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServerOfATest]:
    """A recipe whose judge is a server that grades everything 8 and prefers answers that mention a cough."""

    def say(body: dict[str, Any]) -> Any:
        if "response_format" in body:
            return completion(grade_reply(8, evidence="a cough"))
        text = body["messages"][1]["content"]
        is_first = "[ANSWER A" in text and "Cough" in text.partition("[ANSWER A")[2].partition("[/ANSWER A")[0]
        return completion("A", {"A": -0.1, "B": -2.0} if is_first else {"A": -2.0, "B": -0.1})

    values = yaml.safe_load(shipped_recipes()["demo_smollm2"].read_text(encoding="utf-8"))
    values["judge"] |= {"kind": "endpoint", "model": MODEL}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.setenv("FINE_TUNE_RECIPE", str(tmp_path / "recipe.yaml"))
    with ChatServerOfATest(say).running() as server:
        monkeypatch.setenv("FINE_TUNE_JUDGE_URL", server.url)
        yield server


def _file(folder: Path, *lines: Any) -> Path:
    path = folder / "answers.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return path


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["eval", *map(str, arguments)])


def _rows(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_grades_are_printed_line_by_line_in_file_order(tmp_path: Path) -> None:
    result = _run("grade", _file(tmp_path, BAD, GOOD))
    assert result.exit_code == 0, result.output
    bad, good = _rows(result)
    assert (bad["id"], good["id"]) == ("b", 7)
    assert 1 <= bad["score"] < good["score"] <= 10
    assert bad["checks"]["numbers"] == ["5 days"]
    assert not any(good["checks"].values())
    assert set(good) == {
        "id", "score", "calibrated_means", "blind_spots", "reason", "criteria", "checks", "judge",
    }  # fmt: skip


def _recipe(folder: Path, monkeypatch: pytest.MonkeyPatch, **sections: Any) -> None:
    values = yaml.safe_load(shipped_recipes()["demo_smollm2"].read_text(encoding="utf-8"))
    for name, changes in sections.items():
        values[name] |= changes
    (folder / "recipe.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.setenv("FINE_TUNE_RECIPE", str(folder / "recipe.yaml"))


def test_a_line_with_a_task_is_checked_for_the_format_of_that_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graph would count the same violation, so a team must see it beforehand."""
    task = load_recipe("demo_smollm2").tasks[0].name
    _recipe(tmp_path, monkeypatch, checks={"formats": {task: {"headings": ["ASSESSMENT", "PLAN"]}}})
    approved = [{"task": task, "output": "one two three four"}] * 10
    table = Layout(tmp_path / "none").table("approved_examples")
    table.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(approved), table)
    with_task, without_task = _rows(_run("grade", _file(tmp_path, {**GOOD, "task": task}, GOOD)))
    assert with_task["checks"]["format"] == {"faults": 2}
    assert (with_task["checks"]["length"]["words"], with_task["checks"]["length"]["is_within"]) == (4, True)
    assert with_task["checks"].keys() - without_task["checks"].keys() == {"format", "length"}


@pytest.mark.usefixtures("endpoint")
def test_each_grade_states_the_limits_of_its_judge(tmp_path: Path) -> None:
    """Without its limits, a grade would look more certain than it is."""
    with_reference, without = _rows(_run("grade", _file(tmp_path, GOOD, {**GOOD, "reference": None})))
    assert "hallucination" in with_reference["blind_spots"]
    assert without["blind_spots"].startswith(with_reference["blind_spots"])
    assert "Without a reference answer" in without["blind_spots"]


def test_the_calibrated_grade_is_printed_with_the_judges_grade(tmp_path: Path) -> None:
    """The mapping needs rated answers; a judge that was not measured here has none."""
    path = Layout(tmp_path / "none").table("judge_agreement")
    (own,) = _rows(_run("grade", _file(tmp_path, GOOD)))
    assert own["calibrated_means"] is None
    row = agreement(judge=formula_judge().version).to_pylist()[0]
    path.parent.mkdir(parents=True)
    pq.write_table(table_from_rows([{**row, "calibration": "[[1, 1], [10, 5.5]]"}], JudgeAgreement.SCHEMA), path)
    (mapped,) = _rows(_run("grade", _file(tmp_path, GOOD)))
    assert mapped["score"] == own["score"]
    assert mapped["calibrated_means"]["score"] == pytest.approx(1 + (own["score"] - 1) / 2, abs=0.01)
    assert (mapped["calibrated_means"]["by"], mapped["calibrated_means"]["fingerprint"]) == (
        "rated_summaries",
        "labelled",
    )


def test_the_recipe_determines_the_judge(endpoint: ChatServerOfATest, tmp_path: Path) -> None:
    """Each criterion has a sentence and a quote; a second call generates nothing."""
    file = _file(tmp_path, {key: value for key, value in GOOD.items() if key != "reference"})
    first = _run("grade", file)
    assert first.exit_code == 0, first.output
    (row,) = _rows(first)
    assert row["score"] == pytest.approx(8.0, abs=1e-9)
    assert row["criteria"]["tone"] == {"score": 8.0, "reason": "It is so.", "evidence": "a cough"}
    assert len(endpoint.posts) == 1
    assert _rows(_run("grade", file)) == [row]
    assert len(endpoint.posts) == 1


def test_a_preference_comes_with_its_probability_after_both_orders(endpoint: ChatServerOfATest, tmp_path: Path) -> None:
    pair = {"id": "p", **ASKED, "output_1": "Headache.", "output_2": "Cough."}
    result = _run("compare", _file(tmp_path, pair), "-o", tmp_path / "out.jsonl")
    assert result.exit_code == 0, result.output
    row = json.loads((tmp_path / "out.jsonl").read_text())
    assert (row["preferred"], row["is_position_consistent"]) == (2, True)
    assert row["probability"] == pytest.approx(0.13, abs=0.01)
    assert len(endpoint.posts) == 2


def test_two_answers_are_compared_without_a_model_too(tmp_path: Path) -> None:
    pair = {**ASKED, "output_1": GOOD["output"], "output_2": BAD["output"], "reference": GOOD["reference"]}
    (row,) = _rows(_run("compare", _file(tmp_path, pair)))
    assert row["preferred"] == 1
    assert row["id"] == "answers.jsonl-1"


def test_without_a_reference_the_judge_that_needs_one_gives_no_grade(tmp_path: Path) -> None:
    """Null with the reason, not 0 and not a guess."""
    (row,) = _rows(_run("grade", _file(tmp_path, {**GOOD, "reference": None})))
    assert row["score"] is None
    assert "reference" in row["reason"]


@pytest.mark.parametrize(
    "line",
    [
        f'{{"output": "{MARKER}"',
        f'["{MARKER}"]',
        json.dumps({**ASKED, "note": MARKER}),
        json.dumps({**GOOD, "output": [MARKER]}),
        json.dumps({**GOOD, "reference": 7, "output": MARKER}),
        json.dumps({**GOOD, "output": f"{MARKER} \ud800"}),
        json.dumps({**GOOD, "id": [MARKER]}),
    ],
)
def test_a_bad_line_is_named_by_its_number_and_costs_no_other(tmp_path: Path, line: str) -> None:
    """One line must not waste hours of a judge's time, and scripts must see that a grade is missing."""
    result = _run("grade", _file(tmp_path, GOOD, "", line, BAD))
    assert result.exit_code == 1
    assert [row["id"] for row in _rows(result)] == [7, "b"]
    assert "Line 3 of " in result.stderr
    assert f"{tmp_path / 'answers.jsonl'}: line 3." in result.stderr
    assert MARKER not in result.stderr


def test_an_endpoint_without_an_address_names_the_setting(
    endpoint: ChatServerOfATest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FINE_TUNE_JUDGE_URL")
    result = _run("grade", _file(tmp_path, GOOD))
    assert result.exit_code == 1
    assert "FINE_TUNE_JUDGE_URL" in result.stderr
    assert endpoint.posts == []
