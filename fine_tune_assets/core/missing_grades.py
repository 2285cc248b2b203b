"""Limits the fraction of missing grades. Above it, grades decide nothing, and an approver can't sign the verdict.

The promotion gate and the ledger share this rule.
"""

import json
from typing import Any

from fine_tune_assets.core.errors import materialize_hint


def explain_missing_grades(missing: int, graded: int, allowed: float) -> str:
    """Why too many grades are missing; empty if enough exist. `graded`: test examples with a grade for both models."""
    total = missing + graded
    if not total or missing / total <= allowed:
        return ""
    return (
        f"{missing} of {total} test examples have no grade, but the recipe allows {allowed:.0%}: the grades can't decide. "
        f"{materialize_hint('judge_scores')}"
    )


def explain_unsignable(evidence: str) -> str:
    """Why an approver can't sign a hold; empty if signing is possible. `evidence`: a verdict's evidence as JSON."""
    values: Any = json.loads(evidence)
    try:
        counts = values["missing_grades"], values["power"]["examples"], values["gate"]["maximum_missing_fraction"]
    except (KeyError, TypeError):  # written by a version that did not record these
        return ""
    return explain_missing_grades(*counts)
