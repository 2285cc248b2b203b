"""Builds the verifier's ONNX session from its weights, so that it runs without torch."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fine_tune_assets.embeddings.onnx_graph import GraphBuilder
from fine_tune_assets.judging.judges.grades import SUPPORTS

_SEGMENTS = "embeddings.token_type_embeddings.weight"


def open_verifier_session(weights: Mapping[str, NDArray[Any]], heads: int) -> Any:
    """`ids`, `segments`, `mask`, `said` (batch, pieces) → `logits` (batch, SUPPORTS), `wrong` (batch, pieces).

    An onnxruntime session. `weights` have the encoder's own names and the names of the two classifying heads; `heads`: attention
    heads of a layer.
    """
    graph = _VerifierGraph(weights, heads)
    logits, wrong = graph.add_heads(graph.add_layers(graph.add_embeddings()))
    shape = ["batch", "pieces"]
    return graph.open_session(
        {"ids": ("INT64", shape), "segments": ("INT64", shape), "mask": ("INT32", shape), "said": ("FLOAT", shape)},
        {"logits": (logits, ["batch", len(SUPPORTS)]), "wrong": (wrong, shape)},
    )


class _VerifierGraph(GraphBuilder):
    def add_embeddings(self) -> str:
        words = self.add_node("Gather", self.add_weight("embeddings.word_embeddings.weight"), "ids")
        segments = self.add_node("Gather", self.add_weight(_SEGMENTS), "segments")
        pieces = self.add_node(
            "Gather", self.add_node("Shape", "ids"), self.add_constant("second", np.array(1)), axis=0
        )
        zero, one = self.add_constant("zero", np.array(0)), self.add_constant("one", np.array(1))
        positions = self.add_node(
            "Gather",
            self.add_weight("embeddings.position_embeddings.weight"),
            self.add_node("Range", zero, pieces, one),
        )
        summed = self.add_node("Add", self.add_node("Add", words, segments), positions)
        return self.add_layer_norm("embeddings.LayerNorm", summed)

    def add_heads(self, states: str) -> tuple[str, str]:
        last = self.add_constant("last_axis", np.array([-1]))
        wrong = self.add_node("Squeeze", self.add_linear("word_head", states), last)
        said = self.add_node("Unsqueeze", "said", last)
        middle = self.add_constant("middle_axis", np.array([1]))
        total = self.add_node("ReduceSum", self.add_node("Mul", states, said), middle, keepdims=0)
        mean = self.add_node("Div", total, self.add_node("ReduceSum", said, middle, keepdims=0))
        first = self.add_node("Gather", states, self.add_constant("first", np.array(0)), axis=1)
        joined = self.add_node("Concat", first, mean, axis=-1)
        hidden = self.add_node("Gelu", self.add_linear("sentence_head.0", joined), domain="com.microsoft")
        return self.add_linear("sentence_head.2", hidden), wrong
