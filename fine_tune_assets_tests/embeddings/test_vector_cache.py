"""The cache encodes each text once, returns exact vectors and never mixes encoders."""

import stat
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fine_tune_assets.embeddings.vector_cache import CachedEncoder, Floats


class Encoder:
    """Gives each word a distinct vector and records the texts that it encodes."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, texts: Sequence[str]) -> tuple[Floats, np.ndarray]:
        self.texts += texts
        words = [text.split() for text in texts]
        rows = [[len(word), ord(word[0])] for text_words in words for word in text_words]
        counts = np.array([len(text_words) for text_words in words], np.int32)
        return np.array(rows, np.float32).reshape(-1, 2), counts


def test_a_text_is_encoded_once_across_runs_and_vectors_keep_the_requested_order(tmp_path: Path) -> None:
    """The leakage certificate needs the same vectors as the assembly of the set."""
    encoder, path = Encoder(), tmp_path / "leaks" / "vectors.npz"
    first = CachedEncoder(encoder, "v1", path)
    first(["a bb", "ccc", "a bb"])
    vectors, counts = first(["ccc", "d", "a bb"])
    assert encoder.texts == ["a bb", "ccc", "d"]
    assert counts.tolist() == [1, 1, 2]
    assert vectors.tolist() == [[3, 99], [1, 100], [1, 97], [2, 98]]
    vectors, counts = CachedEncoder(encoder, "v1", path)(["a bb", "ccc"])
    assert encoder.texts == ["a bb", "ccc", "d"]
    assert (counts.tolist(), vectors.tolist()) == ([2, 1], [[1, 97], [2, 98], [3, 99]])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_vectors_that_a_run_did_not_use_are_removed(tmp_path: Path) -> None:
    """A withheld or removed report must not survive as a vector, even in a run without new texts."""
    encoder, path = Encoder(), tmp_path / "vectors.npz"
    CachedEncoder(encoder, "v1", path)(["a", "b"])
    second = CachedEncoder(encoder, "v1", path)
    second(["b"])
    second.remove_unused()
    assert encoder.texts == ["a", "b"]
    CachedEncoder(encoder, "v1", path)(["b", "a"])
    assert encoder.texts == ["a", "b", "a"]


def test_a_run_that_used_no_vectors_removes_none(tmp_path: Path) -> None:
    """It failed before the comparison; an hour of encoding must not be lost."""
    encoder, path = Encoder(), tmp_path / "vectors.npz"
    CachedEncoder(encoder, "v1", path)(["a"])
    CachedEncoder(encoder, "v1", path).remove_unused()
    CachedEncoder(encoder, "v1", path)(["a"])
    assert encoder.texts == ["a"]


def test_another_encoder_version_or_a_broken_file_resets_the_cache(tmp_path: Path) -> None:
    """Vectors of two encoders are not comparable."""
    path = tmp_path / "vectors.npz"
    CachedEncoder(Encoder(), "v1", path)(["a"])
    other = Encoder()
    CachedEncoder(other, "v2", path)(["a"])
    assert other.texts == ["a"]
    path.write_bytes(path.read_bytes()[:40])
    broken = Encoder()
    CachedEncoder(broken, "v2", path)(["a"])
    assert broken.texts == ["a"]


def test_no_texts_give_no_vectors(tmp_path: Path) -> None:
    """An empty table is not an error."""
    vectors, counts = CachedEncoder(Encoder(), "v1", tmp_path / "vectors.npz")([])
    assert (len(vectors), len(counts)) == (0, 0)
