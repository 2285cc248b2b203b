"""Builds the sentence encoder's ONNX graph from the safetensors file in its package.

The architecture is MiniLM-L6 (Wang et al. 2020): a six-layer BERT with hidden size 384. onnxruntime imports in a third of
torch's time and needs no torch.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HEADS, WIDTH = 12, 384
_EPSILON = 1e-12
_OPSET, _MICROSOFT_OPSET = 17, 1
_EXTERNAL_BYTES = 1024


def open_encoder_session(weights: Path) -> Any:
    """A session: `ids` and `mask` (batch, pieces) → `vectors` (batch, pieces, 384)."""
    from safetensors.numpy import load_file

    graph = GraphBuilder(load_file(weights))
    vectors = graph.add_layers(graph.add_embeddings())
    shape = ["batch", "pieces"]
    inputs = {"ids": ("INT64", shape), "mask": ("INT32", shape)}
    # The fused operator is slower on a CPU, and adds in another order: cached vectors would be of another version.
    return graph.open_session(
        inputs, {"vectors": (vectors, [*shape, WIDTH])}, disabled_optimizers=["SkipLayerNormFusion"]
    )


class GraphBuilder:
    """Collects nodes and weights; each method returns the name of its output."""

    def __init__(self, weights: Mapping[str, NDArray[Any]], heads: int = HEADS) -> None:
        """`weights`: of any BERT model, by its own names."""
        self.weights, self.heads = weights, heads
        self.nodes: list[Any] = []
        self.constants: dict[str, NDArray[Any]] = {}

    def add_embeddings(self) -> str:
        """Word + position + segment 0 embeddings, normalized. A Range node supplies the positions, so any length works."""
        words = self.add_node("Gather", self.add_weight("embeddings.word_embeddings.weight"), "ids")
        pieces = self.add_node(
            "Gather", self.add_node("Shape", "ids"), self.add_constant("second", np.array(1)), axis=0
        )
        zero, one = self.add_constant("zero", np.array(0)), self.add_constant("one", np.array(1))
        positions = self.add_node("Range", zero, pieces, one)
        segment = self.weights["embeddings.token_type_embeddings.weight"][0]
        position_table = self.add_constant("places", self.weights["embeddings.position_embeddings.weight"] + segment)
        return self.add_layer_norm(
            "embeddings.LayerNorm", self.add_node("Add", words, self.add_node("Gather", position_table, positions))
        )

    def add_layers(self, vectors: str) -> str:
        layers = {name.split(".")[2] for name in self.weights if name.startswith("encoder.layer.")}
        for number in range(len(layers)):
            vectors = self.add_layer(f"encoder.layer.{number}", vectors)
        return vectors

    def open_session(
        self,
        inputs: Mapping[str, tuple[str, Sequence[Any]]],
        outputs: Mapping[str, tuple[str, Sequence[Any]]],
        **arguments: Any,
    ) -> Any:
        """An onnxruntime session on one thread. `inputs`: name → ONNX type, shape. `outputs`: name → name within the graph,
        shape; fp32. `arguments`: further ones of `InferenceSession`.

        The weights are handed over as they are in memory: to serialize and parse them takes three times as long, and twice the
        memory.
        """
        import onnxruntime
        from onnx import numpy_helper

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Shapes are inferred from small constants, which must be in the model.
        large = {name: value for name, value in self.constants.items() if value.nbytes >= _EXTERNAL_BYTES}
        small = {name: value for name, value in self.constants.items() if name not in large}
        tensors = [
            *(_declare_tensor(name, value) for name, value in large.items()),
            *(numpy_helper.from_array(value, name) for name, value in small.items()),
        ]
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in large.values()]
        options.add_external_initializers(list(large), values)
        model = self._serialize(inputs, outputs, tensors)
        return onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"], **arguments)

    def _serialize(
        self,
        inputs: Mapping[str, tuple[str, Sequence[Any]]],
        outputs: Mapping[str, tuple[str, Sequence[Any]]],
        tensors: Sequence[Any],
    ) -> bytes:
        from onnx import TensorProto, helper

        graph = helper.make_graph(
            [*self.nodes, *(helper.make_node("Identity", [inner], [name]) for name, (inner, _) in outputs.items())],
            "encoder",
            [
                helper.make_tensor_value_info(name, getattr(TensorProto, kind), shape)
                for name, (kind, shape) in inputs.items()
            ],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, (_, shape) in outputs.items()],
            list(tensors),
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("com.microsoft", _MICROSOFT_OPSET)]
        return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())

    def add_layer(self, name: str, vectors: str) -> str:
        attended = self._add_attention(f"{name}.attention.self", vectors)
        attended = self.add_node("Add", self.add_linear(f"{name}.attention.output.dense", attended), vectors)
        attended = self.add_layer_norm(f"{name}.attention.output.LayerNorm", attended)
        wide = self.add_node("Gelu", self.add_linear(f"{name}.intermediate.dense", attended), domain="com.microsoft")
        narrow = self.add_node("Add", self.add_linear(f"{name}.output.dense", wide), attended)
        return self.add_layer_norm(f"{name}.output.LayerNorm", narrow)

    def _add_attention(self, name: str, vectors: str) -> str:
        parts = ("query", "key", "value")
        weight = np.concatenate([self.weights[f"{name}.{part}.weight"].T for part in parts], axis=1)
        bias = np.concatenate([self.weights[f"{name}.{part}.bias"] for part in parts])
        inputs = (vectors, self.add_constant(f"{name}.w", weight), self.add_constant(f"{name}.b", bias), "mask")
        return self.add_node("Attention", *inputs, domain="com.microsoft", num_heads=self.heads)

    def add_linear(self, name: str, vectors: str) -> str:
        weight = self.add_constant(f"{name}.w", np.ascontiguousarray(self.weights[f"{name}.weight"].T))
        return self.add_node("Add", self.add_node("MatMul", vectors, weight), self.add_weight(f"{name}.bias"))

    def add_layer_norm(self, name: str, vectors: str) -> str:
        scale, shift = self.add_weight(f"{name}.weight"), self.add_weight(f"{name}.bias")
        return self.add_node("LayerNormalization", vectors, scale, shift, axis=-1, epsilon=_EPSILON)

    def add_node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        from onnx import helper

        output = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def add_weight(self, name: str) -> str:
        return self.add_constant(name, self.weights[name])

    def add_constant(self, name: str, value: Any) -> str:
        self.constants.setdefault(name, np.asarray(value, order="C"))
        return name


def _declare_tensor(name: str, value: NDArray[Any]) -> Any:
    """Type and shape of a tensor whose values are handed over beside the model."""
    from onnx import TensorProto, helper

    tensor = TensorProto(
        name=name,
        data_type=helper.np_dtype_to_tensor_dtype(value.dtype),
        dims=value.shape,
        data_location=TensorProto.EXTERNAL,
    )
    tensor.external_data.add(key="location", value="memory")
    return tensor
