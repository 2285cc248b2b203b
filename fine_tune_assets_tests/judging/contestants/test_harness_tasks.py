"""Tasks of lm-eval-harness: local files only, and what is asked is what stands in the questions."""

from pathlib import Path

import pytest
import yaml
from jinja2 import Environment

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.judging.contestants.abilities import LETTERS, read_questions, write_tasks

QUESTIONS = sorted((PROJECT_DIR / "data" / "evaluation" / "abilities").glob("*.jsonl"))


def test_each_file_of_questions_becomes_two_tasks_that_read_it_from_the_disk(tmp_path: Path) -> None:
    """A task that names a data set of the hub would try to fetch it."""
    names = write_tasks(QUESTIONS, tmp_path)
    tasks = [yaml.safe_load((tmp_path / f"{name}.yaml").read_text(encoding="utf-8")) for name in names]
    assert [task["task"] for task in tasks] == names
    assert len(names) == 2 * len(QUESTIONS)
    for task in tasks:
        assert task["dataset_path"] == "json"
        assert Path(task["dataset_kwargs"]["data_files"]["test"]) in QUESTIONS


def test_a_chat_names_every_choice_and_its_target_is_the_right_letter(tmp_path: Path) -> None:
    """One that left a choice out could not be answered."""
    for name, path in zip(write_tasks(QUESTIONS, tmp_path)[1::2], QUESTIONS, strict=True):
        task = yaml.safe_load((tmp_path / f"{name}.yaml").read_text(encoding="utf-8"))
        for question in read_questions(path, 20):
            known = {"query": question.query, "choices": list(question.choices), "gold": question.gold}
            asked, target = (
                Environment().from_string(task[f"doc_to_{part}"]).render(known) for part in ("text", "target")
            )
            assert f"\n{target}. {question.choices[question.gold]}\n" in asked
            assert len(question.choices) <= len(LETTERS)


def test_without_questions_there_are_no_tasks(tmp_path: Path) -> None:
    """An empty folder would be run as a success."""
    with pytest.raises(GateClosedError, match="no questions"):
        write_tasks([], tmp_path)
