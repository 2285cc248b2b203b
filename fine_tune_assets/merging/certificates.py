"""The certificates that a release carries: parity of every hop, identifiers removed, training and test apart, the judge.

Pure: takes rows and documents that others made, and measures nothing. What was not measured is null, with the reason beside it.
No clocks and no paths: the same evidence gives the same bytes.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from fine_tune_assets.core.errors import GateClosedError, materialize_hint
from fine_tune_assets.tables.judging import JudgeAgreement
from fine_tune_assets.tables.merging import MergedWeights, QuantizedWeights
from fine_tune_assets.tables.phi import ScrubRecall

_LIMITS = {
    "mean_kl": "maximum_kl",
    "top1_agreement": "minimum_top1",
    "same_greedy": "minimum_same_greedy",
    "loss_increase": "maximum_loss_increase",
}
"""Figure of a hop → its limit."""
_FIGURES = (*_LIMITS, "parity_tokens", "parity_answers")


def require_parity(weights: MergedWeights | QuantizedWeights) -> None:
    """Raise GateClosedError unless weights passed their hop. Ones of which nothing is said have not."""
    name = weights.format if isinstance(weights, QuantizedWeights) else "safetensors"
    if weights.is_passed is None:
        asset = "quantized_weights" if isinstance(weights, QuantizedWeights) else "merged_weights"
        raise GateClosedError(
            f"There is no parity on record for the {name} weights: they were made by an older version. "
            + materialize_hint(asset)
        )
    if not weights.is_passed:
        raise GateClosedError(
            f"The {name} weights are not what was judged, and no other format takes their place. {weights.why}"
        )


def parity_certificate(
    merged: MergedWeights, export: QuantizedWeights | None, exports: Sequence[QuantizedWeights] = ()
) -> dict[str, Any]:
    """Figures, limits and outcome of each hop from the adapter to what is served, and apart from them of what else was made
    of the same weights: counts and fingerprints only.

    `export` None where the merged weights themselves are served. `exports`: all that were made.
    """
    hops = [_hop("adapter", "safetensors", merged.adapter_id, merged.weights_fingerprint, merged)]
    if export is not None:
        hops.append(_hop_of_export(export))
    served = export.format if export is not None else ""
    same = [one for one in exports if one.weights_fingerprint == merged.weights_fingerprint]
    return {
        "base_fingerprint": merged.base_fingerprint,
        "merged_dtype": merged.dtype,
        "probes_fingerprint": merged.probes_fingerprint,
        "hops": hops,
        "not_served": [_hop_of_export(one) for one in same if one.format != served],
    }


def missing_proof(parity: Mapping[str, Any], adapter_id: str, served_fingerprint: str) -> str:
    """Why the hops do not lead from the adapter to what is served, each passed and each figure within its limit; empty if they
    do. Figures are compared with limits anew: that a hop passed is not taken on its word."""
    if not parity["hops"]:
        return "there is no hop"
    reached = adapter_id
    for hop in parity["hops"]:
        name = f"the hop from {hop['from']} to {hop['to']}"
        if hop["is_passed"] is not True:
            return f"{name} did not pass"
        if beyond := _beyond_limits(hop):
            return f"{name} is said to have passed, and {beyond}"
        if hop["from_fingerprint"] != reached:
            return f"{name} starts at something else than what was there before it"
        reached = hop["to_fingerprint"]
    return "" if reached == served_fingerprint else "the last hop does not end at the model that is served"


def _beyond_limits(hop: Mapping[str, Any]) -> str:
    """The first figure that is not within its limit, in words; one that is missing or no number is within none."""
    for figure, limit in _LIMITS.items():
        value, bound = hop["figures"].get(figure), hop["limits"].get(limit)
        if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in (value, bound)):
            return f"its {figure} or the limit of it is missing"
        if not (value >= bound if limit.startswith("minimum") else value <= bound):
            return f"its {figure} is {value:g}, limit {bound:g}"
    return ""


def shown_hops(parity: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Hop, figure, value, limit: for a card."""
    shown = [(hop, "") for hop in parity["hops"]] + [(hop, _not_served(hop)) for hop in parity["not_served"]]
    return [
        (f"{hop['from']} to {hop['to']}{mark}", name, value, _shown_limit(hop, name))
        for hop, mark in shown
        for name, value in hop["figures"].items()
    ]


def _not_served(hop: Mapping[str, Any]) -> str:
    return " (not served)" if hop["is_passed"] is True else " (not served, did not pass)"


def _shown_limit(hop: Mapping[str, Any], figure: str) -> Any:
    limit = hop["limits"].get(_LIMITS.get(figure))
    return "" if limit is None else limit


def _hop_of_export(export: QuantizedWeights) -> dict[str, Any]:
    return _hop("safetensors", export.format, export.weights_fingerprint, export.fingerprint, export)


def _hop(
    from_form: str,
    to_form: str,
    from_fingerprint: str,
    to_fingerprint: str | None,
    measured: MergedWeights | QuantizedWeights,
) -> dict[str, Any]:
    return {
        "from": from_form,
        "to": to_form,
        "from_fingerprint": from_fingerprint,
        "to_fingerprint": to_fingerprint,
        "figures": {name: getattr(measured, name) for name in _FIGURES},
        "limits": {name: getattr(measured, name) for name in _LIMITS.values()},
        "is_passed": measured.is_passed,
        "why": measured.why,
    }


def certificate_json(values: Mapping[str, Any]) -> str:
    """Canonical JSON; a number that is none is null."""
    return json.dumps(_plain(values), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def scrub_certificate(
    versions: Sequence[str], floors: Mapping[str, float], measures: Sequence[ScrubRecall], misses_only: str
) -> dict[str, Any]:
    """`versions`: of the scrubbers behind the set; `floors`: what the recipe demands; `misses_only`: the labelled set that is
    made of what reviewers marked as missed, whose share says nothing about all identifiers."""
    measured = {measure.scrubber_version for measure in measures}
    missing = sorted(set(versions) - measured)
    why = (
        ""
        if versions
        else "The instruction set does not say which scrubber was used: it was stored by an older version."
    )
    if missing:
        why = f"{len(missing)} of {len(versions)} scrubbers behind the set are not in scrub_recall any more."
    return {
        "scrubber_versions": sorted(versions),
        "not_measured": missing,
        "why_not": why,
        "floors": dict(floors),
        "misses_only": misses_only,
        "measures": sorted(
            (measure.as_row() for measure in measures if measure.scrubber_version in versions),
            key=lambda row: (row["scrubber_version"], row["labelled_set"], row["measure"], row["label"]),
        ),
    }


def leakage_certificate(set_manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What the manifest of the instruction set says about the separation of its splits."""
    return {
        "instruction_set": set_manifest["fingerprint"],
        "paragraph": set_manifest["leakage_certificate"],
        "figures": set_manifest["evidence"]["leakage"],
        "why_not": "",
    }


def judge_licence(evidence: Mapping[str, Any], agreement: Sequence[JudgeAgreement] | None) -> dict[str, Any]:
    """`evidence`: of the verdict; `agreement`: what it rests on, None if the table is another one by now."""
    judge = evidence.get("judge")
    return {
        "judge": judge,
        "judge_agreement_fingerprint": evidence.get("fingerprints", {}).get("judge_agreement"),
        "measures": None
        if agreement is None
        else [row.as_row() for row in agreement if row.judge_version == (judge or {}).get("version")],
        "why_not": "judge_agreement was measured again since the verdict." if agreement is None else "",
    }


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
