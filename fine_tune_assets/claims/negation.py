"""Finds findings that an output negates and its input asserts, or the other way round.

Owns which mention of the input an output's mention is compared with. What negates a finding is read in `mentions`.
"""

from collections.abc import Sequence

from fine_tune_assets.claims.mentions import Finding, findings_in


def unsupported_negations(output: str, input_text: str) -> list[str]:
    """What `output` negates where `input_text` asserts it, or the other way round, as it stands; each once.

    >>> unsupported_negations("Denies chest pain.", "The chest pain is worse.")
    ['Denies chest pain']
    """
    return turned_round(list(findings_in(output)), list(findings_in(input_text)))


def turned_round(findings: Sequence[Finding], others: Sequence[Finding]) -> list[str]:
    """Those of `findings` that are negated where `others` assert it, or the other way round, as they stand; each once."""
    held: dict[str, list[Finding]] = {}
    for other in others:
        held.setdefault(other.name, []).append(other)
    found: dict[str, None] = {}
    for finding in findings:
        opposite = {"negated": "asserted", "asserted": "negated"}.get(finding.state)
        states = {other.state for other in _closest(finding, held.get(finding.name, []))}
        if opposite in states and finding.state not in states:
            found.setdefault(finding.written)
    return list(found)


def _closest(finding: Finding, others: Sequence[Finding]) -> list[Finding]:
    """Mentions at the same site, or at none, in the words that are most like its own: which of several pains is meant."""
    of_site = [other for other in others if not (finding.sites and other.sites) or finding.sites & other.sites]
    likeness = [_likeness(finding, other) for other in of_site]
    return [other for other, like in zip(of_site, likeness, strict=True) if like == max(likeness)]


def _likeness(finding: Finding, other: Finding) -> float:
    """Shared words count the more, the closer they stand to both, and half if one has it before and one behind."""
    likeness = 0.0
    for word in sorted(finding.near.keys() & other.near.keys()):
        here, there = finding.near[word], other.near[word]
        likeness += (1 if (here < 0) == (there < 0) else 0.5) / (abs(here) + abs(there))
    return likeness
