"""A text is encoded once; what is remembered is the very vector, and never of another encoder."""

import stat
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fine_tune_assets.embeddings.vector_cache import Floats, Remembered


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
    vectors, counts = Remembered(encoder, "v1", path)(["a bb", "ccc"])
    assert encoder.texts == ["a bb", "ccc", "d"]
    assert (counts.tolist(), vectors.tolist()) == ([2, 1], [[1, 97], [2, 98], [3, 99]])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_a_whole_run_did_not_ask_for_is_not_kept(tmp_path: Path) -> None:
    """A report that was held back or removed must not live on as a vector, also if nothing new came with it."""
    encoder, path = Encoder(), tmp_path / "vectors.npz"
    Remembered(encoder, "v1", path)(["a", "b"])
    second = Remembered(encoder, "v1", path)
    second(["b"])
    second.forget_others()
    assert encoder.texts == ["a", "b"]
    Remembered(encoder, "v1", path)(["b", "a"])
    assert encoder.texts == ["a", "b", "a"]


def test_a_run_that_asked_for_nothing_forgets_nothing(tmp_path: Path) -> None:
    """It failed before it came to compare: an hour of encoding is not lost for that."""
    encoder, path = Encoder(), tmp_path / "vectors.npz"
    Remembered(encoder, "v1", path)(["a"])
    Remembered(encoder, "v1", path).forget_others()
    Remembered(encoder, "v1", path)(["a"])
    assert encoder.texts == ["a"]


def test_another_encoder_and_a_broken_file_start_anew(tmp_path: Path) -> None:
    """Vectors of two encoders can't be compared."""
    path = tmp_path / "vectors.npz"
    Remembered(Encoder(), "v1", path)(["a"])
    other = Encoder()
    Remembered(other, "v2", path)(["a"])
    assert other.texts == ["a"]
    path.write_bytes(path.read_bytes()[:40])
    broken = Encoder()
    Remembered(broken, "v2", path)(["a"])
    assert broken.texts == ["a"]


def test_of_no_texts_there_is_nothing(tmp_path: Path) -> None:
    """An empty table is no fault."""
    vectors, counts = Remembered(Encoder(), "v1", tmp_path / "vectors.npz")([])
    assert (len(vectors), len(counts)) == (0, 0)
