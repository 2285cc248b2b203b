"""Builds the certificates of a release: parity of every hop, de-identification, separation of splits, judge qualification.

Pure: formats existing rows and documents and measures nothing. A missing measurement is null, with a reason. Without clocks and
paths, so the same evidence gives the same bytes.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from fine_tune_assets.core.errors import GateClosedError, materialize_hint
from fine_tune_assets.tables.judging_rows import JudgeAgreement
from fine_tune_assets.tables.merging_rows import MergedWeights, QuantizedWeights
from fine_tune_assets.tables.scrubbing_rows import ScrubRecall

_LIMITS = {
    "mean_kl": "maximum_kl",
    "top1_agreement": "minimum_top1",
    "greedy_agreement": "minimum_greedy_agreement",
    "loss_increase": "maximum_loss_increase",
}
"""Metric of a hop → its limit."""
_METRICS = (*_LIMITS, "parity_tokens", "parity_answers")


def require_parity(weights: MergedWeights | QuantizedWeights) -> None:
    """Raise GateClosedError unless the weights passed their hop. A missing result counts as a failure."""
    name = weights.format if isinstance(weights, QuantizedWeights) else "safetensors"
    if weights.is_passed is None:
        asset = "quantized_weights" if isinstance(weights, QuantizedWeights) else "merged_weights"
        raise GateClosedError(
            f"No parity result is stored for the {name} weights, which an older version made. "
            + materialize_hint(asset)
        )
    if not weights.is_passed:
        raise GateClosedError(
            f"The {name} weights differ from the judged model. No other format is used instead. {weights.failure_reason}"
        )


def parity_certificate(
    merged: MergedWeights, export: QuantizedWeights | None, exports: Sequence[QuantizedWeights] = ()
) -> dict[str, Any]:
    """Metrics, limits and outcome of each hop from the adapter to the served weights: counts and fingerprints only.

    `export` is None if the merged weights are served. `exports` are all exports; those not served are listed separately.
    """
    hops = [_hop("adapter", "safetensors", merged.adapter_id, merged.weights_fingerprint, merged)]
    if export is not None:
        hops.append(_export_hop(export))
    served = export.format if export is not None else ""
    same = [one for one in exports if one.weights_fingerprint == merged.weights_fingerprint]
    return {
        "base_fingerprint": merged.base_fingerprint,
        "merged_dtype": merged.dtype,
        "probes_fingerprint": merged.probes_fingerprint,
        "hops": hops,
        "other_exports": [_export_hop(one) for one in same if one.format != served],
    }


def find_parity_gap(parity: Mapping[str, Any], adapter_id: str, served_fingerprint: str) -> str:
    """Return why the hops fail to prove that the served weights come from the adapter; empty if they prove it.

    Compares metrics with limits again instead of trusting `is_passed`.
    """
    if not parity["hops"]:
        return "the certificate has no hop"
    reached = adapter_id
    for hop in parity["hops"]:
        name = f"the hop from {hop['from']} to {hop['to']}"
        if hop["is_passed"] is not True:
            return f"{name} did not pass"
        if beyond := _exceeded_limit(hop):
            return f"{name} is marked as passed, but {beyond}"
        if hop["from_fingerprint"] != reached:
            return f"{name} does not start where the previous hop ended"
        reached = hop["to_fingerprint"]
    return "" if reached == served_fingerprint else "the last hop does not end at the served model"


def _exceeded_limit(hop: Mapping[str, Any]) -> str:
    """Return the first metric that is missing, not a number or outside its limit, in words; empty if there is none."""
    for figure, limit in _LIMITS.items():
        value, bound = hop["metrics"].get(figure), hop["limits"].get(limit)
        if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in (value, bound)):
            return f"its {figure} or the limit for it is missing"
        if not (value >= bound if limit.startswith("minimum") else value <= bound):
            return f"its {figure} is {value:g}, limit {bound:g}"
    return ""


def hop_rows(parity: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Rows of hop, metric, value and limit for a card."""
    shown = [(hop, "") for hop in parity["hops"]] + [(hop, _unserved_mark(hop)) for hop in parity["other_exports"]]
    return [
        (f"{hop['from']} to {hop['to']}{mark}", name, value, _metric_limit(hop, name))
        for hop, mark in shown
        for name, value in hop["metrics"].items()
    ]


def _unserved_mark(hop: Mapping[str, Any]) -> str:
    return " (not served)" if hop["is_passed"] is True else " (not served, did not pass)"


def _metric_limit(hop: Mapping[str, Any], figure: str) -> Any:
    limit = hop["limits"].get(_LIMITS.get(figure))
    return "" if limit is None else limit


def _export_hop(export: QuantizedWeights) -> dict[str, Any]:
    return _hop("safetensors", export.format, export.weights_fingerprint, export.fingerprint, export)


def _hop(
    from_format: str,
    to_format: str,
    from_fingerprint: str,
    to_fingerprint: str | None,
    measured: MergedWeights | QuantizedWeights,
) -> dict[str, Any]:
    return {
        "from": from_format,
        "to": to_format,
        "from_fingerprint": from_fingerprint,
        "to_fingerprint": to_fingerprint,
        "metrics": {name: getattr(measured, name) for name in _METRICS},
        "limits": {name: getattr(measured, name) for name in _LIMITS.values()},
        "is_passed": measured.is_passed,
        "reason": measured.failure_reason,
    }


def certificate_json(values: Mapping[str, Any]) -> str:
    """Canonical JSON; NaN and infinity become null."""
    return json.dumps(_finite_values(values), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def scrub_certificate(
    versions: Sequence[str], floors: Mapping[str, float], measures: Sequence[ScrubRecall], missed_set: str
) -> dict[str, Any]:
    """Certify scrubbing for the scrubber `versions` behind the set, with the recipe's `floors`.

    `missed_set` is the labelled set made from missed identifiers; its recall does not represent all identifiers.
    """
    measured = {measure.scrubber_version for measure in measures}
    missing = sorted(set(versions) - measured)
    reason = "" if versions else "The instruction set was stored by an older version and does not name its scrubber."
    if missing:
        reason = f"{len(missing)} of {len(versions)} scrubbers behind the set are no longer in scrub_recall."
    return {
        "scrubber_versions": sorted(versions),
        "not_measured": missing,
        "missing_reason": reason,
        "floors": dict(floors),
        "missed_set": missed_set,
        "measures": sorted(
            (measure.to_row() for measure in measures if measure.scrubber_version in versions),
            key=lambda row: (row["scrubber_version"], row["labelled_set"], row["measure"], row["label"]),
        ),
    }


def leakage_certificate(set_manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Certify the separation of splits from the instruction set's manifest."""
    return {
        "instruction_set": set_manifest["fingerprint"],
        "summary": set_manifest["leakage_certificate"],
        "metrics": set_manifest["evidence"]["leakage"],
        "missing_reason": "",
    }


def qualification_certificate(
    evidence: Mapping[str, Any], agreement: Sequence[JudgeAgreement] | None
) -> dict[str, Any]:
    """Certify the judge from the verdict's `evidence`; `agreement` is None if judge_agreement has changed since the verdict."""
    judge = evidence.get("judge")
    return {
        "judge": judge,
        "judge_agreement_fingerprint": evidence.get("fingerprints", {}).get("judge_agreement"),
        "measures": None
        if agreement is None
        else [row.to_row() for row in agreement if row.judge_version == (judge or {}).get("version")],
        "missing_reason": "judge_agreement has changed since the verdict." if agreement is None else "",
    }


def _finite_values(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(name): _finite_values(one) for name, one in value.items()}
    return [_finite_values(one) for one in value] if isinstance(value, list | tuple) else value
