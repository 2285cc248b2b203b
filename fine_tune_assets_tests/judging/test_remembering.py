"""What a model did before: asked once, and never taken for what another question, or another model, would have brought."""

from pathlib import Path

import pytest

from fine_tune_assets.judging.remembering import Flags, remembered

ASKED = {"base": "b1", "questions": ["q1"]}


class Model:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self) -> Flags:
        self.asked += 1
        return {"right": [True, self.asked > 1]}


def test_the_same_model_is_asked_the_same_once(tmp_path: Path) -> None:
    """A second candidate on the same base model costs half."""
    model = Model()
    first, again = (remembered(tmp_path / "new", ASKED, model) for _ in range(2))
    assert first == again == {"right": [True, False]}
    assert model.asked == 1


@pytest.mark.parametrize("other", [{"base": "b2"}, {"questions": ["q2"]}, {"adapter": "a1"}])
def test_another_model_or_question_is_asked_anew(tmp_path: Path, other: dict[str, object]) -> None:
    """Answers of another model would be a forged measurement."""
    model = Model()
    remembered(tmp_path, ASKED, model)
    assert remembered(tmp_path, {**ASKED, **other}, model) == {"right": [True, True]}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"right": [1, 0]}', '{"right": null}'])
def test_a_file_that_was_cut_or_changed_counts_as_none(tmp_path: Path, content: str) -> None:
    """What can't be read is asked again, not guessed."""
    model = Model()
    remembered(tmp_path, ASKED, model)
    (path,) = tmp_path.iterdir()
    path.write_text(content)
    assert remembered(tmp_path, ASKED, model) == {"right": [True, True]}


def test_files_are_their_users_alone(tmp_path: Path) -> None:
    """They say how well a model does on a patient's examples."""
    remembered(tmp_path / "new", ASKED, Model())
    (path,) = (tmp_path / "new").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
