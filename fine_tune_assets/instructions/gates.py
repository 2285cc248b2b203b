"""Checks the evidence stored with an instruction set before a training starts."""

from fine_tune_assets.core.errors import GateClosedError, materialize_hint
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.instructions.certificate import SEMANTIC
from fine_tune_assets.instructions.stored_sets import StoredInstructionSet
from fine_tune_assets.tables.instruction_rows import count_planted_secrets


def identifier_findings(stored: StoredInstructionSet) -> dict[str, dict[str, int]] | None:
    """Example id → kind → count of identifiers in the final texts. None if they were not searched for."""
    searched = (stored.manifest.get("evidence") or {}).get("identifiers")
    return None if searched is None else dict(searched["findings"])


def is_certified(stored: StoredInstructionSet) -> bool:
    """Whether the stored leakage certificate holds, and paraphrases were searched for."""
    leakage = (stored.manifest.get("evidence") or {}).get("leakage", {})
    return bool(leakage.get("is_valid")) and SEMANTIC in leakage.get("kinds", ())


def require_evidence(stored: StoredInstructionSet) -> None:
    """Raise GateClosedError unless the set is certified and contains no identifiers."""
    if not is_certified(stored):
        raise GateClosedError(
            f"Instruction set {short(stored.fingerprint)} has no valid leakage certificate that covers paraphrases. "
            + materialize_hint("instruction_sets")
        )
    found = identifier_findings(stored)
    if found is None:
        raise GateClosedError(
            f"Instruction set {short(stored.fingerprint)} was not searched for identifiers. "
            + materialize_hint("instruction_sets")
        )
    if found:
        raise GateClosedError(
            f"{len(found)} examples of instruction set {short(stored.fingerprint)} seem to contain identifiers: "
            f"{', '.join(sorted(found)[:5])}. On the desk, mark the identifiers, or repair or reject the examples. "
            + materialize_hint("instruction_sets")
        )


def require_no_planted_secrets(stored: StoredInstructionSet) -> None:
    """Raise GateClosedError if the set contains planted secrets, because an adapter trained on it could be released."""
    planted = count_planted_secrets(stored.table)
    if planted:
        raise GateClosedError(
            f"Instruction set {short(stored.fingerprint)} contains {planted} planted secrets, and an adapter trained on it "
            "could be released. Remove them from its sources. " + materialize_hint("instruction_sets")
        )
