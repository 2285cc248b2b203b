"""What a stored set has to show before a GPU is spent on it. Reads the evidence that was stored with it, and trusts no memory of
a check."""

from fine_tune_assets.core.errors import GateClosedError, materialize_hint
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.instructions.certificate import SEMANTIC
from fine_tune_assets.instructions.stored_sets import StoredInstructionSet
from fine_tune_assets.tables.instructions import count_canaries


def identifiers_found(stored: StoredInstructionSet) -> dict[str, dict[str, int]] | None:
    """Example id → kind → count, of the look for identifiers in the final texts. None if nobody looked."""
    looked = (stored.manifest.get("evidence") or {}).get("identifiers")
    return None if looked is None else dict(looked["findings"])


def is_certified(stored: StoredInstructionSet) -> bool:
    """Whether the stored leakage certificate holds, and paraphrases were searched for."""
    leakage = (stored.manifest.get("evidence") or {}).get("leakage", {})
    return bool(leakage.get("holds")) and SEMANTIC in leakage.get("kinds", ())


def require_evidence(stored: StoredInstructionSet) -> None:
    """Raise GateClosedError unless the set is certified and nothing that identifies somebody was found in it."""
    if not is_certified(stored):
        raise GateClosedError(
            f"Instruction set {short(stored.fingerprint)} has no leakage certificate that holds and covers paraphrases. "
            + materialize_hint("instruction_sets")
        )
    found = identifiers_found(stored)
    if found is None:
        raise GateClosedError(
            f"Nobody looked for identifiers in instruction set {short(stored.fingerprint)}. "
            + materialize_hint("instruction_sets")
        )
    if found:
        raise GateClosedError(
            f"{len(found)} examples of instruction set {short(stored.fingerprint)} seem to hold identifiers: "
            f"{', '.join(sorted(found)[:5])}. Mark them (`fine-tune phi mark`), or repair or reject the examples. "
            + materialize_hint("instruction_sets")
        )


def require_no_canaries(stored: StoredInstructionSet) -> None:
    """Raise GateClosedError if the set holds planted rows: an adapter trained on them could be released."""
    planted = count_canaries(stored.table)
    if planted:
        raise GateClosedError(
            f"Instruction set {short(stored.fingerprint)} holds {planted} planted canaries, and an adapter trained on it could "
            "be released. Remove them from its sources. " + materialize_hint("instruction_sets")
        )
