"""Results of the GPU proof for tests, with made-up figures."""

from dataclasses import replace
from typing import Any

from benchmarks.gpu_proof.results import Origin, Part, SliceResult

CARD = "Made-up Card"
ORIGIN = Origin("code-1", {"gpu": CARD, "gpus": 1, "cuda": "13.0"}, {"torch": "2.11.0", "transformers": "5.19.0"})
CPU = Origin("code-1", {"gpu": None, "gpus": 0}, {"torch": "2.11.0"})
TRAINING = Part("measured", 30.0, {"tokens_per_second": 1234.0, "peak_bytes": 9_000_000_000, "plan_error": 0.021})


def make_result(**changes: Any) -> SliceResult:
    """A complete measurement of the slice `qlora` with one part."""
    return replace(
        SliceResult(
            slice="qlora",
            dry=False,
            is_complete=True,
            origin=ORIGIN,
            started_at="2026-01-02T03:04:05Z",
            seconds=40.0,
            parts={"qlora": TRAINING},
        ),
        **changes,
    )
