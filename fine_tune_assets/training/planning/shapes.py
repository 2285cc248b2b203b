"""What passes through the model at once, and what a step of it holds: plain numbers, which need no torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Pass:
    """What goes through the model at once, padding included."""

    rows: int
    tokens: int
    """Of each row."""
    learned: int
    """Of all rows: where the output layer is applied."""
    examples: int = 1
    """Of each row: packed ones are kept apart by a mask, which takes time."""


@dataclass(frozen=True)
class StepMemory:
    """Bytes."""

    weights: int
    """Of the base model, which is frozen."""
    adapter: int
    gradients: int
    optimizer: int
    activations: int
    """And whatever else lives for a moment, at the peak of the step."""

    layer: int = 0
    """Of the weights, the largest layer's."""
    root: int = 0
    """Of the weights, what is in no layer: embeddings and output layer."""

    loading: int = 0
    """What is held before anything is cut up."""

    def shard(self, processes: int, loads_whole: bool) -> "StepMemory":
        """Of each of several processes that hold a part (FSDP2): two layers are put together at a time, and what is in none.

        `loads_whole`: whether the whole model lies in this memory first.
        """
        whole = 2 * self.layer + self.root
        return StepMemory(
            weights=self.weights // processes + whole,
            adapter=self.adapter // processes,
            gradients=self.gradients // processes,
            optimizer=self.optimizer // processes,
            activations=self.activations,
            loading=self.weights if loads_whole else 0,
        )

    @property
    def total(self) -> int:
        step = self.weights + self.adapter + self.gradients + self.optimizer + self.activations
        return max(step, self.loading)
