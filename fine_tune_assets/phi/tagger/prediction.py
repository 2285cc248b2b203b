"""Runs an exported tagger: texts in, labelled words out.

Runs onnxruntime with one thread, because the scrubber processes share the cores.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fine_tune_assets.phi.tagger.encoding import (
    WordPieces,
    find_scored_part,
    iterate_windows,
    load_tokenizer,
    tokenize_texts,
)
from fine_tune_assets.phi.tagger.labels import LABELS

MODEL_FILE = "model.int8.onnx"
CLS_ID, SEP_ID = 101, 102
"""Ids in BERT's uncased vocabulary."""
_DISABLED_OPTIMIZERS = ["SkipLayerNormFusion"]
"""The fused operator is scalar code on a CPU: without it, a window takes 12.3 ms instead of 13.6 (onnxruntime 1.32)."""
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class TaggedWord:
    start: int
    end: int
    label: str
    """The most likely label other than O, however unlikely."""
    probability: float
    """Probability that the word is part of an identifier of any kind: 1 - P(O)."""


class Tagger:
    """An exported tagger from a folder with `model.int8.onnx` and `tokenizer.json`."""

    def __init__(self, folder: Path) -> None:
        # Imported here, because reading a scrubber's version must stay cheap.
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(folder / MODEL_FILE), options, ["CPUExecutionProvider"], disabled_optimizers=_DISABLED_OPTIMIZERS
        )
        self._tokenizer = load_tokenizer(folder)

    def tag(self, texts: Sequence[str]) -> list[list[TaggedWord]]:
        """The words of each text, in order. A word is a run of letters and digits, or one other character."""
        return [
            list(_label_words(pieces, self._predict_probabilities(pieces)))
            for pieces in tokenize_texts(self._tokenizer, texts)
        ]

    def _predict_probabilities(self, pieces: WordPieces) -> Floats:
        """(pieces, labels), window by window.

        In a batch, the scale of the 8-bit activations, and therefore a word near the threshold, would depend on the other texts.
        """
        count = len(pieces.ids)
        probabilities = np.zeros((count, len(LABELS)), dtype=np.float32)
        for start, stop in iterate_windows(count):
            first, last = find_scored_part(start, stop, count)
            probabilities[first:last] = self._run_window(pieces, start, stop)[first - start : last - start]
        return probabilities

    def _run_window(self, pieces: WordPieces, start: int, stop: int) -> Floats:
        ids = np.concatenate(([CLS_ID], pieces.ids[start:stop], [SEP_ID]))[None]
        classes = np.concatenate(([0], pieces.case_classes[start:stop], [0]))[None]
        inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": classes}
        (logits,) = self._session.run(None, inputs)
        return _softmax(logits[0, 1:-1])


def _softmax(logits: Any) -> Floats:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)  # type: ignore[no-any-return]


def _label_words(pieces: WordPieces, probabilities: Floats) -> Iterator[TaggedWord]:
    """Average over the pieces of each word: a rare name is split into many pieces, and one alone may look like a word."""
    if not len(pieces.ids):
        return
    firsts = np.flatnonzero(np.diff(pieces.word_ids, prepend=-1))
    sizes = np.diff(np.append(firsts, len(pieces.word_ids)))
    means = np.add.reduceat(probabilities, firsts, axis=0) / sizes[:, None]
    labels = means[:, 1:].argmax(axis=1) + 1
    ends = pieces.ends[firsts + sizes - 1]
    for first, end, label, mean in zip(firsts, ends, labels, means, strict=True):
        yield TaggedWord(int(pieces.starts[first]), int(end), LABELS[label], float(1 - mean[0]))
