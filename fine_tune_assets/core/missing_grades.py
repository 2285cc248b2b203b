"""When so many grades are missing that the rest decides nothing, and that no signature makes up for it.

Owns the rule alone: the gate asks it of its figures, the ledger of a verdict that somebody wants to sign.
"""

import json
from typing import Any

from fine_tune_assets.core.errors import materialize_hint


def too_many_missing(missing: int, graded: int, allowed: float) -> str:
    """Why nothing is decided by grades; empty where enough are there. `graded`: test examples with a grade for both."""
    total = missing + graded
    if not total or missing / total <= allowed:
        return ""
    return (
        f"{missing} of {total} test examples have no grade, more than the {allowed:.0%} that the recipe allows: grades decide "
        f"nothing. {materialize_hint('judge_scores')}"
    )


def why_unsignable(evidence: str) -> str:
    """Why an approver can't sign a hold on this evidence; empty where one can. `evidence`: a verdict's, as JSON."""
    found: Any = json.loads(evidence)
    try:
        counts = found["missing_grades"], found["power"]["examples"], found["gate"]["maximum_missing_fraction"]
    except (KeyError, TypeError):  # a document of before these were written down
        return ""
    return too_many_missing(*counts)
