"""`fine-tune grade` and `compare`: a team tries its judge on answers of its own."""

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
from fine_tune_assets.judging.judges.offline_judge import offline_judge
from fine_tune_assets.recipes.loader import load_recipe, shipped_recipes
from fine_tune_assets.tables.judging import JudgeAgreement
from fine_tune_assets.tables.records import table_of
from fine_tune_assets_tests.judging.chat_server import MODEL, ChatServerOfATest, completion, grade_reply
from fine_tune_assets_tests.judging.made import agreement

MARKER = "Zyxwvutquark"
ASKED = {"instruction": "Name the complaint.", "input": "A cough for 3 weeks."}
GOOD = {"id": 7, **ASKED, "output": "Cough for 3 weeks.", "reference": "Cough for 3 weeks."}
BAD = {"id": "b", **ASKED, "output": "Headache for 5 days.", "reference": "Cough for 3 weeks."}


@pytest.fixture(autouse=True)
def _no_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINE_TUNE_DATA_DIR", str(tmp_path / "none"))


@pytest.fixture
def endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServerOfATest]:
    """A recipe whose judge is a server that grades everything 8 and likes whatever names a cough."""

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
    return CliRunner().invoke(main, [*map(str, arguments)])


def _rows(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_grades_come_out_line_by_line_in_the_order_of_the_file(tmp_path: Path) -> None:
    result = _run("grade", _file(tmp_path, BAD, GOOD))
    assert result.exit_code == 0, result.output
    bad, good = _rows(result)
    assert (bad["id"], good["id"]) == ("b", 7)
    assert 1 <= bad["score"] < good["score"] <= 10
    assert bad["checks"]["numbers"] == ["5 days"]
    assert not any(good["checks"].values())
    assert set(good) == {
        "id", "score", "on_peoples_scale", "cannot_see", "reason", "criteria", "checks", "judge",
    }  # fmt: skip


def _recipe(folder: Path, monkeypatch: pytest.MonkeyPatch, **sections: Any) -> None:
    values = yaml.safe_load(shipped_recipes()["demo_smollm2"].read_text(encoding="utf-8"))
    for name, changes in sections.items():
        values[name] |= changes
    (folder / "recipe.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.setenv("FINE_TUNE_RECIPE", str(folder / "recipe.yaml"))


def test_a_line_with_a_task_is_checked_for_the_form_of_that_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inside the graph the same answer would be held against it: a team must see that before."""
    task = load_recipe("demo_smollm2").tasks[0].name
    _recipe(tmp_path, monkeypatch, checks={"formats": {task: {"headings": ["ASSESSMENT", "PLAN"]}}})
    approved = [{"task": task, "output": "one two three four"}] * 10
    table = Layout(tmp_path / "none").table("approved_examples")
    table.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(approved), table)
    told, untold = _rows(_run("grade", _file(tmp_path, {**GOOD, "task": task}, GOOD)))
    assert told["checks"]["format"] == {"faults": 2}
    assert (told["checks"]["length"]["words"], told["checks"]["length"]["is_within"]) == (4, True)
    assert told["checks"].keys() - untold["checks"].keys() == {"format", "length"}


@pytest.mark.usefixtures("endpoint")
def test_each_grade_says_what_this_judge_can_not_see(tmp_path: Path) -> None:
    """A grade without it reads like the truth."""
    with_reference, without = _rows(_run("grade", _file(tmp_path, GOOD, {**GOOD, "reference": None})))
    assert "hallucination" in with_reference["cannot_see"]
    assert without["cannot_see"].startswith(with_reference["cannot_see"])
    assert "Without a reference answer" in without["cannot_see"]


def test_the_grade_on_peoples_scale_stands_beside_the_judges_own(tmp_path: Path) -> None:
    """With the rated answers that the map comes from; of a judge that was not measured here there is none."""
    path = Layout(tmp_path / "none").table("judge_agreement")
    (own,) = _rows(_run("grade", _file(tmp_path, GOOD)))
    assert own["on_peoples_scale"] is None
    row = agreement(judge=offline_judge().version).to_pylist()[0]
    path.parent.mkdir(parents=True)
    pq.write_table(table_of([{**row, "calibration": "[[1, 1], [10, 5.5]]"}], JudgeAgreement.SCHEMA), path)
    (mapped,) = _rows(_run("grade", _file(tmp_path, GOOD)))
    assert mapped["score"] == own["score"]
    assert mapped["on_peoples_scale"]["score"] == pytest.approx(1 + (own["score"] - 1) / 2, abs=0.01)
    assert (mapped["on_peoples_scale"]["by"], mapped["on_peoples_scale"]["fingerprint"]) == (
        "rated_summaries",
        "labelled",
    )


def test_the_judge_is_the_recipes(endpoint: ChatServerOfATest, tmp_path: Path) -> None:
    """With its criteria, each with a sentence and a quote; asked a second time, nothing is generated."""
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
    assert (row["preferred"], row["is_consistent"]) == (2, True)
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
    """Hours of a judge's time must not be lost to one line; and scripts must see that one is missing."""
    result = _run("grade", _file(tmp_path, GOOD, "", line, BAD))
    assert result.exit_code == 1
    assert [row["id"] for row in _rows(result)] == [7, "b"]
    assert "Line 3 of " in result.stderr
    assert "line 3. All others are done." in result.stderr
    assert MARKER not in result.stderr


def test_an_endpoint_without_an_address_says_which_setting(
    endpoint: ChatServerOfATest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FINE_TUNE_JUDGE_URL")
    result = _run("grade", _file(tmp_path, GOOD))
    assert result.exit_code == 1
    assert "FINE_TUNE_JUDGE_URL" in result.stderr
    assert endpoint.posts == []
