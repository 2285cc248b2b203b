"""Tasks for lm-eval-harness: local files only, with the questions of data/evaluation/abilities."""

from pathlib import Path

import pytest
import yaml
from jinja2 import Environment

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.judging.evaluation.general_abilities import LETTERS, read_questions, write_tasks

QUESTIONS = sorted((PROJECT_DIR / "data" / "evaluation" / "abilities").glob("*.jsonl"))


def test_each_question_file_becomes_two_tasks_on_the_local_file(tmp_path: Path) -> None:
    """A data set name would cause a download from the hub."""
    names = write_tasks(QUESTIONS, tmp_path)
    tasks = [yaml.safe_load((tmp_path / f"{name}.yaml").read_text(encoding="utf-8")) for name in names]
    assert [task["task"] for task in tasks] == names
    assert len(names) == 2 * len(QUESTIONS)
    for task in tasks:
        assert task["dataset_path"] == "json"
        assert Path(task["dataset_kwargs"]["data_files"]["test"]) in QUESTIONS


def test_a_chat_task_lists_every_choice_and_targets_the_right_letter(tmp_path: Path) -> None:
    for name, path in zip(write_tasks(QUESTIONS, tmp_path)[1::2], QUESTIONS, strict=True):
        task = yaml.safe_load((tmp_path / f"{name}.yaml").read_text(encoding="utf-8"))
        for question in read_questions(path, 20):
            known = {"query": question.query, "choices": list(question.choices), "gold": question.gold}
            prompt, target = (
                Environment().from_string(task[f"doc_to_{part}"]).render(known) for part in ("text", "target")
            )
            assert f"\n{target}. {question.choices[question.gold]}\n" in prompt
            assert len(question.choices) <= len(LETTERS)


def test_without_questions_the_export_fails(tmp_path: Path) -> None:
    """An empty task folder would run as a success."""
    with pytest.raises(GateClosedError, match="data/evaluation/abilities"):
        write_tasks([], tmp_path)
