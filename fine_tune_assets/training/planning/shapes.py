"""Shapes of passes and the memory of a step, as plain numbers without torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Pass:
    """A batch in one forward and backward pass, including padding."""

    rows: int
    tokens: int
    """Of each row."""
    supervised_tokens: int
    """In all rows: positions to which the output layer is applied."""


@dataclass(frozen=True)
class StepMemory:
    """Bytes."""

    weights: int
    """Of the frozen base model."""
    adapter: int
    gradients: int
    optimizer: int
    activations: int
    """Including other temporary tensors at the peak of the step."""

    largest_layer: int = 0
    """The largest layer's share of the weights."""
    outside_layers: int = 0
    """Weights in no layer: embeddings and output layer."""

    loading: int = 0
    """Memory before sharding."""

    def shard(self, processes: int, is_loaded_whole: bool) -> "StepMemory":
        """Memory of each process with FSDP2, which gathers two layers at a time, and the weights in no layer.

        `is_loaded_whole`: whether the complete model is first loaded into this memory.
        """
        gathered = 2 * self.largest_layer + self.outside_layers
        return StepMemory(
            weights=self.weights // processes + gathered,
            adapter=self.adapter // processes,
            gradients=self.gradients // processes,
            optimizer=self.optimizer // processes,
            activations=self.activations,
            loading=self.weights if is_loaded_whole else 0,
        )

    @property
    def total(self) -> int:
        step = self.weights + self.adapter + self.gradients + self.optimizer + self.activations
        return max(step, self.loading)
