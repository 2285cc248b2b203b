"""The sentence encoder's network as an ONNX graph, made of the safetensors file that its package carries.

Owns the six layers of MiniLM-L6 (Wang et al. 2020, a BERT of 384 numbers a word piece). onnxruntime runs it in a third of
torch's time to import, and without torch. Does not know texts: word pieces in, one vector a piece out.
"""

from pathlib import Path
from typing import Any

import numpy as np

LAYERS, HEADS, WIDTH = 6, 12, 384
_EPSILON = 1e-12
_OPSET, _MICROSOFT_OPSET = 17, 1


def build_graph(weights: Path) -> bytes:
    """A serialised model: `ids` and `mask` (batch, pieces) → `vectors` (batch, pieces, 384)."""
    from onnx import TensorProto, helper

    graph = _Graph(weights)
    vectors = graph.embedded()
    for number in range(LAYERS):
        vectors = graph.layer(f"encoder.layer.{number}", vectors)
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
            list(graph.initialisers.values()),
        ),
        opset_imports=[helper.make_opsetid("", _OPSET), helper.make_opsetid("com.microsoft", _MICROSOFT_OPSET)],
        ir_version=10,
    )
    return bytes(model.SerializeToString())


class _Graph:
    """Nodes and weights that were added so far; each method returns the name of its result."""

    def __init__(self, weights: Path) -> None:
        from safetensors.numpy import load_file

        self._weights = load_file(weights)
        self.nodes: list[Any] = []
        self.initialisers: dict[str, Any] = {}

    def embedded(self) -> str:
        """Word + place + segment 0, normalised. The place's vector is found by its number, so any length goes."""
        words = self._add("Gather", self._stored("embeddings.word_embeddings.weight"), "ids")
        pieces = self._add("Gather", self._add("Shape", "ids"), self._constant("second", np.array(1)), axis=0)
        zero, one = self._constant("zero", np.array(0)), self._constant("one", np.array(1))
        places = self._add("Range", zero, pieces, one)
        segment = self._weights["embeddings.token_type_embeddings.weight"][0]
        placed = self._constant("places", self._weights["embeddings.position_embeddings.weight"] + segment)
        return self._normalised("embeddings.LayerNorm", self._add("Add", words, self._add("Gather", placed, places)))

    def layer(self, name: str, vectors: str) -> str:
        attended = self._attended(f"{name}.attention.self", vectors)
        attended = self._add("Add", self._linear(f"{name}.attention.output.dense", attended), vectors)
        attended = self._normalised(f"{name}.attention.output.LayerNorm", attended)
        wide = self._add("Gelu", self._linear(f"{name}.intermediate.dense", attended), domain="com.microsoft")
        narrow = self._add("Add", self._linear(f"{name}.output.dense", wide), attended)
        return self._normalised(f"{name}.output.LayerNorm", narrow)

    def _attended(self, name: str, vectors: str) -> str:
        parts = ("query", "key", "value")
        weight = np.concatenate([self._weights[f"{name}.{part}.weight"].T for part in parts], axis=1)
        bias = np.concatenate([self._weights[f"{name}.{part}.bias"] for part in parts])
        inputs = (vectors, self._constant(f"{name}.w", weight), self._constant(f"{name}.b", bias), "mask")
        return self._add("Attention", *inputs, domain="com.microsoft", num_heads=HEADS)

    def _linear(self, name: str, vectors: str) -> str:
        weight = self._constant(f"{name}.w", np.ascontiguousarray(self._weights[f"{name}.weight"].T))
        return self._add("Add", self._add("MatMul", vectors, weight), self._stored(f"{name}.bias"))

    def _normalised(self, name: str, vectors: str) -> str:
        scale, shift = self._stored(f"{name}.weight"), self._stored(f"{name}.bias")
        return self._add("LayerNormalization", vectors, scale, shift, axis=-1, epsilon=_EPSILON)

    def _add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        from onnx import helper

        output = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def _stored(self, name: str) -> str:
        return self._constant(name, self._weights[name])

    def _constant(self, name: str, value: Any) -> str:
        from onnx import numpy_helper

        self.initialisers.setdefault(name, numpy_helper.from_array(np.asarray(value), name))
        return name
