"""Builds the sentence encoder's ONNX graph from the safetensors file in its package.

The architecture is MiniLM-L6 (Wang et al. 2020): a six-layer BERT with hidden size 384. onnxruntime imports in a third of
torch's time and needs no torch.
"""

from pathlib import Path
from typing import Any

import numpy as np

LAYERS, HEADS, WIDTH = 6, 12, 384
_EPSILON = 1e-12
_OPSET, _MICROSOFT_OPSET = 17, 1


def build_graph(weights: Path) -> bytes:
    """A serialized model: `ids` and `mask` (batch, pieces) → `vectors` (batch, pieces, 384)."""
    from onnx import TensorProto, helper

    graph = _Graph(weights)
    vectors = graph.add_embeddings()
    for number in range(LAYERS):
        vectors = graph.add_layer(f"encoder.layer.{number}", vectors)
    shape = ["batch", "pieces"]
    model = helper.make_model(
        helper.make_graph(
            [*graph.nodes, helper.make_node("Identity", [vectors], ["vectors"])],
            "sentence_encoder",
            [
                helper.make_tensor_value_info("ids", TensorProto.INT64, shape),
                helper.make_tensor_value_info("mask", TensorProto.INT32, shape),
            ],
            [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, [*shape, WIDTH])],
            list(graph.initializers.values()),
        ),
        opset_imports=[helper.make_opsetid("", _OPSET), helper.make_opsetid("com.microsoft", _MICROSOFT_OPSET)],
        ir_version=10,
    )
    return bytes(model.SerializeToString())


class _Graph:
    """Collects nodes and weights; each method returns the name of its output."""

    def __init__(self, weights: Path) -> None:
        from safetensors.numpy import load_file

        self._weights = load_file(weights)
        self.nodes: list[Any] = []
        self.initializers: dict[str, Any] = {}

    def add_embeddings(self) -> str:
        """Word + position + segment 0 embeddings, normalized. A Range node supplies the positions, so any length works."""
        words = self._add_node("Gather", self._add_weight("embeddings.word_embeddings.weight"), "ids")
        pieces = self._add_node(
            "Gather", self._add_node("Shape", "ids"), self._add_constant("second", np.array(1)), axis=0
        )
        zero, one = self._add_constant("zero", np.array(0)), self._add_constant("one", np.array(1))
        positions = self._add_node("Range", zero, pieces, one)
        segment = self._weights["embeddings.token_type_embeddings.weight"][0]
        position_table = self._add_constant("places", self._weights["embeddings.position_embeddings.weight"] + segment)
        return self._add_layer_norm(
            "embeddings.LayerNorm", self._add_node("Add", words, self._add_node("Gather", position_table, positions))
        )

    def add_layer(self, name: str, vectors: str) -> str:
        attended = self._add_attention(f"{name}.attention.self", vectors)
        attended = self._add_node("Add", self._add_linear(f"{name}.attention.output.dense", attended), vectors)
        attended = self._add_layer_norm(f"{name}.attention.output.LayerNorm", attended)
        wide = self._add_node("Gelu", self._add_linear(f"{name}.intermediate.dense", attended), domain="com.microsoft")
        narrow = self._add_node("Add", self._add_linear(f"{name}.output.dense", wide), attended)
        return self._add_layer_norm(f"{name}.output.LayerNorm", narrow)

    def _add_attention(self, name: str, vectors: str) -> str:
        parts = ("query", "key", "value")
        weight = np.concatenate([self._weights[f"{name}.{part}.weight"].T for part in parts], axis=1)
        bias = np.concatenate([self._weights[f"{name}.{part}.bias"] for part in parts])
        inputs = (vectors, self._add_constant(f"{name}.w", weight), self._add_constant(f"{name}.b", bias), "mask")
        return self._add_node("Attention", *inputs, domain="com.microsoft", num_heads=HEADS)

    def _add_linear(self, name: str, vectors: str) -> str:
        weight = self._add_constant(f"{name}.w", np.ascontiguousarray(self._weights[f"{name}.weight"].T))
        return self._add_node("Add", self._add_node("MatMul", vectors, weight), self._add_weight(f"{name}.bias"))

    def _add_layer_norm(self, name: str, vectors: str) -> str:
        scale, shift = self._add_weight(f"{name}.weight"), self._add_weight(f"{name}.bias")
        return self._add_node("LayerNormalization", vectors, scale, shift, axis=-1, epsilon=_EPSILON)

    def _add_node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        from onnx import helper

        output = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def _add_weight(self, name: str) -> str:
        return self._add_constant(name, self._weights[name])

    def _add_constant(self, name: str, value: Any) -> str:
        from onnx import numpy_helper

        self.initializers.setdefault(name, numpy_helper.from_array(np.asarray(value), name))
        return name
