"""`fine-tune grade` and `fine-tune compare`: a team tries a judge on its own answers."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner, Result

from fine_tune_assets.cli.judge_options import recipe_with_judge
from fine_tune_assets.cli.main import main
from fine_tune_assets.core.paths import Layout
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.judging.judges.judge_prompts import AS_WRITTEN
from fine_tune_assets.judging.judges.judge_registry import judge_request, open_judge
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
    """A server that grades everything 8 and prefers answers that mention a cough. The recipe names it as the judge."""

    def say(body: dict[str, Any]) -> Any:
        if "response_format" in body:
            return completion(grade_reply(8, evidence="a cough"))
        text = body["messages"][1]["content"]
        is_first = "[ANSWER A" in text and "Cough" in text.partition("[ANSWER A")[2].partition("[/ANSWER A")[0]
        return completion("A", {"A": -0.1, "B": -2.0} if is_first else {"A": -2.0, "B": -0.1})

    values = yaml.safe_load(shipped_recipes()["demo_smollm2"].read_text(encoding="utf-8"))
    values["judge"] |= {"kind": "rubric", "backend": "endpoint", "model": MODEL}
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


def test_grades_are_printed_line_by_line_in_file_order(tmp_path: Path) -> None:
    result = _run("grade", _file(tmp_path, BAD, GOOD))
    assert result.exit_code == 0, result.output
    bad, good = _rows(result)
    assert (bad["id"], good["id"]) == ("b", 7)
    assert 1 <= bad["score"] < good["score"] <= 10
    assert bad["checks"]["numbers"] == ["5 days"]
    assert not any(good["checks"].values())
    assert set(good) == {
        "id", "score", "calibrated_means", "blind_spots", "reason", "criteria", "ungraded", "checks", "judge",
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
    path, options = Layout(tmp_path / "none").table("judge_agreement"), ("--judge", "verifier", "--rubric", "general")
    settings = Settings(data_dir=tmp_path / "none")
    with open_judge(judge_request(settings, recipe_with_judge(settings, "verifier", None, "general"))) as judge:
        row = agreement(judge=judge.version).to_pylist()[0]
    (own,) = _rows(_run("grade", _file(tmp_path, BAD), *options))
    assert own["calibrated_means"] is None
    path.parent.mkdir(parents=True)
    pq.write_table(table_from_rows([{**row, "calibration": "[[1, 1], [10, 5.5]]"}], JudgeAgreement.SCHEMA), path)
    (mapped,) = _rows(_run("grade", _file(tmp_path, BAD), *options))
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
    assert row["criteria"]["tone"] == {
        "score": 8.0,
        "reason": f"It is so. {AS_WRITTEN}",
        "evidence": "a cough",
    }
    assert len(endpoint.posts) == 1
    assert _rows(_run("grade", file)) == [row]
    assert len(endpoint.posts) == 1


def test_without_a_reference_accuracy_is_graded_from_the_input_alone(tmp_path: Path) -> None:
    """Most teams have answers without references. The other criteria are named, so that the score does not seem to cover them."""
    (row,) = _rows(_run("grade", _file(tmp_path, {**ASKED, "output": GOOD["output"]})))
    assert row["criteria"].keys() == {"factual_accuracy"}
    assert row["score"] == row["criteria"]["factual_accuracy"]["score"]
    assert row["ungraded"] == ["completeness", "tone", "format"]


SIDES = {
    "id": "knee",
    "instruction": "Summarize.",
    "input": "Patient: my right knee hurts.\nPatient: I take ibuprofen 400 mg.",
    "output": "Takes ibuprofen 400 mg. Left knee pain.",
}


def test_evidence_shows_the_worst_statement_first_with_its_line_and_veto(tmp_path: Path) -> None:
    file = _file(tmp_path, SIDES)
    (row,) = _rows(_run("grade", file, "--evidence"))
    worst, other = row["statements"]
    assert (worst["text"], worst["veto"]) == ("Left knee pain.", "sides")
    assert worst["support"] != "supported"
    assert worst["probability"] <= min(0.05, other["probability"])
    assert {one["criterion"] for one in row["statements"]} == {"factual_accuracy"}
    assert worst["evidence"] in SIDES["input"].splitlines()
    (without,) = _rows(_run("grade", file))
    assert row.keys() - without.keys() == {"statements"}


def test_evidence_on_a_terminal_is_text_without_control_characters(tmp_path: Path) -> None:
    """An answer comes from a model, and must not move the cursor of the person who reads it."""
    reading, terminal = os.openpty()
    output = f"{SIDES['output']}\x1b[K"
    result = _run("grade", _file(tmp_path, {**SIDES, "output": output}), "--evidence", "-o", os.ttyname(terminal))
    assert result.exit_code == 0, result.output
    shown = os.read(reading, 10_000).decode()
    os.close(reading)
    os.close(terminal)
    lines = shown.splitlines()
    assert lines[0].startswith("knee: ")
    assert "Left knee pain." in lines[1]
    assert "sides" in lines[1]
    assert "\x1b" not in shown


def test_passages_are_part_of_the_record(tmp_path: Path) -> None:
    """An answer from documents is grounded in them, not in the question."""
    asked = {"instruction": "Answer.", "input": "What is the notice period?", "output": "The notice period is 30 days."}
    passages = ["Fees are due monthly.", "The notice period is 30 days."]
    with_passages, without = _rows(_run("grade", _file(tmp_path, {**asked, "passages": passages}, asked), "--evidence"))
    assert with_passages["statements"][0]["evidence"] == passages[1]
    assert (with_passages["checks"]["numbers"], without["checks"]["numbers"]) == ([], ["30 days"])
    assert with_passages["score"] > without["score"]


LABELLED = {**ASKED, "task": "name_section", "reference": "medications"}


def test_an_answer_that_must_be_a_label_equals_the_reference_or_does_not(tmp_path: Path) -> None:
    """Words in common are no merit: "past medical history" and "past surgical history" share two of three."""
    outputs = (" Medications.", "allergies", "a drug")
    right, other, no_label = _rows(_run("grade", _file(tmp_path, *({**LABELLED, "output": text} for text in outputs))))
    scores = {name: [row["criteria"][name]["score"] for row in (right, other, no_label)] for name in right["criteria"]}
    assert scores == {
        "factual_accuracy": [10.0, 1.0, 1.0],
        "completeness": [10.0, 1.0, 1.0],
        "format": [10.0, 10.0, 1.0],
    }
    assert right["criteria"]["factual_accuracy"]["reason"] != other["criteria"]["factual_accuracy"]["reason"]
    assert (right["score"], right["ungraded"]) == (10.0, ["tone"])


def test_a_label_without_a_reference_has_no_accuracy(tmp_path: Path) -> None:
    (row,) = _rows(_run("grade", _file(tmp_path, {**LABELLED, "output": "medications", "reference": None})))
    assert row["criteria"].keys() == {"format"}
    assert row["ungraded"] == ["factual_accuracy", "completeness", "tone"]


def test_the_rubric_may_be_a_file(tmp_path: Path) -> None:
    criterion = {"name": "truth", "weight": 1, "measured_by": "statements", "best": "True.", "worst": "False."}
    rubric = tmp_path / "rubric.yaml"
    rubric.write_text(yaml.safe_dump([criterion, {**criterion, "name": "wit", "measured_by": "model"}]))
    (row,) = _rows(_run("grade", _file(tmp_path, GOOD), "--rubric", rubric))
    assert row["criteria"].keys() == {"truth"}
    assert row["ungraded"] == ["wit"]


def test_a_rubric_changes_the_version_of_the_judge(tmp_path: Path) -> None:
    """A qualification for one rubric says nothing about another."""
    file = _file(tmp_path, GOOD)
    versions = {_rows(_run("grade", file, *rubric))[0]["judge"] for rubric in ((), ("--rubric", "clinical"))}
    assert len(versions) == 2


@pytest.mark.parametrize("content", [None, "- name: [", "- name: truth\n  weight: -1\n", "[]"])
def test_a_rubric_that_cannot_be_read_is_refused_with_its_name(tmp_path: Path, content: str | None) -> None:
    rubric = tmp_path / "mine.yaml"
    if content is not None:
        rubric.write_text(content)
    result = _run("grade", _file(tmp_path, GOOD), "--rubric", rubric)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "rubric" in result.stderr
    assert isinstance(result.exception, SystemExit)


def test_options_name_another_judge_than_the_recipe(
    endpoint: ChatServerOfATest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = _file(tmp_path, GOOD)
    _run("grade", file, "--judge", "verifier")
    assert endpoint.posts == []
    monkeypatch.delenv("FINE_TUNE_RECIPE")
    (row,) = _rows(_run("grade", file, "--judge", "rubric", "--model", MODEL))
    assert row["score"] == pytest.approx(8.0, abs=1e-9)
    assert endpoint.posts[0]["model"] == MODEL


def test_a_model_is_a_path_if_it_exists_and_else_a_name_at_the_endpoint(tmp_path: Path) -> None:
    file = tmp_path / "judge.gguf"
    file.touch()
    local = recipe_with_judge(Settings(data_dir=tmp_path), None, str(file), None).judge
    assert (local.kind, local.backend, local.model) == ("statements", "folder", str(file))
    served = Settings.model_validate({"data_dir": tmp_path, "judge": {"url": "http://127.0.0.1:1/v1"}})
    remote = recipe_with_judge(served, "rubric", "org/judge", "clinical").judge
    assert (remote.kind, remote.backend, remote.model) == ("rubric", "endpoint", "org/judge")
    assert remote.rubric == "clinical"


def test_a_model_that_is_neither_a_file_nor_served_is_refused(tmp_path: Path) -> None:
    result = _run("grade", _file(tmp_path, GOOD), "--model", "missing.gguf")
    assert result.exit_code == 1
    assert "missing.gguf" in result.stderr
    assert "FINE_TUNE_JUDGE_URL" in result.stderr


def test_a_kind_of_judge_without_its_model_is_refused(tmp_path: Path) -> None:
    result = _run("grade", _file(tmp_path, GOOD), "--judge", "statements")
    assert result.exit_code == 1
    assert "model" in result.stderr


def test_the_removed_kind_of_judge_is_refused_by_name(tmp_path: Path) -> None:
    result = _run("grade", _file(tmp_path, GOOD), "--judge", "formula")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "kind: formula" in result.stderr
    assert "kind: verifier" in result.stderr


def test_an_installation_without_options_uses_its_recipes_judge(tmp_path: Path) -> None:
    """Only a checkout without any data falls back to the shipped verifier."""
    fallback = recipe_with_judge(Settings(data_dir=tmp_path), None, None, None).judge
    assert (fallback.kind, fallback.rubric) == ("verifier", "general")
    (tmp_path / "tables").mkdir()
    judge = load_recipe("demo_smollm2").judge
    assert recipe_with_judge(Settings(data_dir=tmp_path), None, None, None).judge == judge


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
        json.dumps({**GOOD, "passages": MARKER}),
        json.dumps({**GOOD, "passages": [MARKER, 7]}),
        json.dumps({**GOOD, "passages": [f"{MARKER} \ud800"]}),
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
