"""The parity certificate: every hop from the trained adapter to what is served, as it stands in the tables.

Owns the document and the gate that reads a hop. Pure: it takes rows, and measures nothing.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from fine_tune_assets.core.errors import GateClosedError

FIGURES = ("mean_kl", "top1_agreement", "parity_tokens", "same_greedy", "parity_answers", "loss_increase")
LIMITS = ("maximum_kl", "minimum_top1", "minimum_same_greedy", "maximum_loss_increase")


def require_parity(row: Mapping[str, Any]) -> None:
    """Raise GateClosedError unless a row of merged_weights or quantized_weights passed its hop. One that says nothing has not."""
    name = row.get("format") or "safetensors"
    if row.get("is_passed") is None:
        asset = "quantized_weights" if row.get("format") else "merged_weights"
        raise GateClosedError(
            f"There is no parity on record for the {name} weights: they were made by an older version. Make them again: "
            f"fine-tune materialize --again {asset}"
        )
    if not row["is_passed"]:
        raise GateClosedError(
            f"The {name} weights are not what was judged, and no other format takes their place. {row['why']}"
        )


def parity_certificate(merged: Mapping[str, Any], exports: Iterable[Mapping[str, Any]]) -> str:
    """Canonical JSON: figures, limits and outcome of each hop. Counts and fingerprints only."""
    hops = [
        _hop("adapter", "safetensors", merged["adapter_id"], merged["weights_fingerprint"], merged),
        *(_hop("safetensors", row["format"], row["weights_fingerprint"], row["fingerprint"], row) for row in exports),
    ]
    content = {
        "base_fingerprint": merged["base_fingerprint"],
        "merged_dtype": merged["dtype"],
        "probes_fingerprint": merged["probes_fingerprint"],
        "hops": hops,
    }
    return json.dumps(content, indent=2, sort_keys=True)


def _hop(
    from_form: str, to_form: str, from_fingerprint: str, to_fingerprint: str | None, row: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "from": from_form,
        "to": to_form,
        "from_fingerprint": from_fingerprint,
        "to_fingerprint": to_fingerprint,
        "figures": {name: row[name] for name in FIGURES},
        "limits": {name: row[name] for name in LIMITS},
        "is_passed": row["is_passed"],
        "why": row["why"],
    }
