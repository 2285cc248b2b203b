"""The certificates that a release carries, as JSON: identifiers removed, training and test apart, the judge.

Owns what each says, from rows and documents that others made. What was not measured is null, with the reason beside it. No
clocks and no paths: the same evidence gives the same bytes.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def certificate_json(values: Mapping[str, Any]) -> str:
    """Canonical JSON; a number that is none is null."""
    return json.dumps(_plain(values), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def scrub_certificate(
    versions: Sequence[str], floors: Mapping[str, float], rows: Sequence[Row], misses_only: str
) -> dict[str, Any]:
    """`versions`: of the scrubbers behind the set; `floors`: what the recipe demands; `rows`: of SCRUB_RECALL; `misses_only`: the
    labelled set that is made of what reviewers marked as missed, whose share says nothing about all identifiers."""
    measured = {row["scrubber_version"] for row in rows}
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
            (dict(row) for row in rows if row["scrubber_version"] in versions),
            key=lambda row: (row["scrubber_version"], row["labelled_set"], row["measure"], row["label"]),
        ),
    }


def leakage_certificate(set_manifest: Row) -> dict[str, Any]:
    """What the manifest of the instruction set says about the separation of its splits."""
    return {
        "instruction_set": set_manifest["fingerprint"],
        "paragraph": set_manifest["leakage_certificate"],
        "figures": set_manifest["evidence"]["leakage"],
        "why_not": "",
    }


def judge_licence(evidence: Row, agreement: Sequence[Row] | None) -> dict[str, Any]:
    """`evidence`: of the verdict; `agreement`: the rows of JUDGE_AGREEMENT that it rests on, None if the table is another
    one by now."""
    judge = evidence.get("judge")
    return {
        "judge": judge,
        "judge_agreement_fingerprint": evidence.get("fingerprints", {}).get("judge_agreement"),
        "measures": None
        if agreement is None
        else [dict(row) for row in agreement if row["judge_version"] == (judge or {}).get("version")],
        "why_not": "judge_agreement was measured again since the verdict." if agreement is None else "",
    }


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
