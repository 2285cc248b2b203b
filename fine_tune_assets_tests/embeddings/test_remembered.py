"""A text is encoded once; what is remembered is the very vector, and never of another encoder."""

import stat
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fine_tune_assets.embeddings.remembered import Floats, Remembered


class Encoder:
    """The letters of each word are its passage's vector: told apart, and counted."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, texts: Sequence[str]) -> tuple[Floats, np.ndarray]:
        self.texts += texts
        words = [text.split() for text in texts]
        rows = [[len(word), ord(word[0])] for of_text in words for word in of_text]
        counts = np.array([len(of_text) for of_text in words], np.int32)
        return np.array(rows, np.float32).reshape(-1, 2), counts


def test_a_text_is_encoded_once_over_runs_and_comes_back_in_the_order_asked(tmp_path: Path) -> None:
    """The certificate asks again for what the building asked for."""
    encoder, path = Encoder(), tmp_path / "leaks" / "vectors.npz"
    first = Remembered(encoder, "v1", path)
    first(["a bb", "ccc", "a bb"])
    vectors, counts = first(["ccc", "d", "a bb"])
    assert encoder.texts == ["a bb", "ccc", "d"]
    assert counts.tolist() == [1, 1, 2]
    assert vectors.tolist() == [[3, 99], [1, 100], [1, 97], [2, 98]]
    again = Remembered(encoder, "v1", path)
    vectors, counts = again(["a bb", "ccc"])
    assert (again.encoded, counts.tolist(), vectors.tolist()) == (0, [2, 1], [[1, 97], [2, 98], [3, 99]])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_was_not_asked_for_in_the_last_run_that_encoded_is_not_kept(tmp_path: Path) -> None:
    """A report that was held back or removed must not live on as a vector."""
    path = tmp_path / "vectors.npz"
    Remembered(Encoder(), "v1", path)(["a", "b"])
    Remembered(Encoder(), "v1", path)(["b", "c"])
    third = Remembered(Encoder(), "v1", path)
    third(["a"])
    assert third.encoded == 1


def test_another_encoder_and_a_broken_file_start_anew(tmp_path: Path) -> None:
    """Vectors of two encoders can't be compared."""
    path = tmp_path / "vectors.npz"
    Remembered(Encoder(), "v1", path)(["a"])
    other = Remembered(Encoder(), "v2", path)
    other(["a"])
    assert other.encoded == 1
    path.write_bytes(path.read_bytes()[:40])
    broken = Remembered(Encoder(), "v2", path)
    broken(["a"])
    assert broken.encoded == 1


def test_of_no_texts_there_is_nothing(tmp_path: Path) -> None:
    """An empty table is no fault."""
    vectors, counts = Remembered(Encoder(), "v1", tmp_path / "vectors.npz")([])
    assert (len(vectors), len(counts)) == (0, 0)
