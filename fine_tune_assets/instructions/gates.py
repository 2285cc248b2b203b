"""What a stored set has to show before a GPU is spent on it. Reads the evidence that was stored with it, and trusts no memory of
a check."""

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.core.hints import materialize_hint
from fine_tune_assets.core.planted import count_canaries
from fine_tune_assets.instructions.certificate import SEMANTIC
from fine_tune_assets.instructions.storing import StoredInstructionSet


def identifiers_found(stored: StoredInstructionSet) -> dict[str, dict[str, int]] | None:
    """Example id → kind → count, of the look for identifiers in the final texts. None if nobody looked."""
    looked = (stored.manifest.get("evidence") or {}).get("identifiers")
    return None if looked is None else dict(looked["findings"])


def is_certified(stored: StoredInstructionSet, *, certify_without_semantic: bool) -> bool:
    """Whether the stored leakage certificate holds, and is what the recipe asks for now: it may have allowed more before."""
    leakage = (stored.manifest.get("evidence") or {}).get("leakage", {})
    return bool(leakage.get("holds")) and (certify_without_semantic or SEMANTIC in leakage.get("kinds", ()))


def require_evidence(stored: StoredInstructionSet, *, certify_without_semantic: bool) -> None:
    """Raise GateClosedError unless the set is certified and nothing that identifies somebody was found in it."""
    if not is_certified(stored, certify_without_semantic=certify_without_semantic):
        raise GateClosedError(
            f"Instruction set {short(stored.fingerprint)} has no leakage certificate that holds, or one that says nothing of "
            "examples that say the same in other words, which the recipe does not allow (split.certify_without_semantic). "
            f"{materialize_hint('instruction_sets')}"
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


def require_no_canaries(stored: StoredInstructionSet, *, in_released: bool) -> None:
    """Raise GateClosedError if the set holds planted rows, unless the recipe lets them into what can be released."""
    planted = count_canaries(stored.table)
    if planted and not in_released:
        raise GateClosedError(
            f"Instruction set {short(stored.fingerprint)} holds {planted} planted canaries. Whatever is trained on it could be "
            "released, and the recipe does not allow that (canaries.in_released). Take them out of its sources. "
            + materialize_hint("instruction_sets")
        )
