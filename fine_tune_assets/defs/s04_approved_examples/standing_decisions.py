"""Stage 4, what became of its decisions: a set can hold what is not approved any more.

Belongs here: the gate that refuses such a set, whether one makes a training due, and the check that tells of the live release.
Must stay out: when an approval stands (see `approval/`).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import dagster as dg

from fine_tune_assets.approval.still_approved import DecidedNow, Fall, decided_now, fallen_in
from fine_tune_assets.core.errors import GateClosedError, materialize_hint
from fine_tune_assets.core.fingerprints import combine, fingerprint_json, fingerprint_listing
from fine_tune_assets.defs.platform.live_checks import news_of_check
from fine_tune_assets.defs.platform.metadata import WHY, warned
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.instructions.stored_sets import StoredInstructionSet
from fine_tune_assets.ledger.reviews.reviews import decisions_fingerprint
from fine_tune_assets.ledger.serving.deployments import live_deployment
from fine_tune_assets.ledger.serving.releases import find_release
from fine_tune_assets.lineage.trainings import learned_rows
from fine_tune_assets.tables.instructions import ProvenanceRow
from fine_tune_assets.tables.records import records_of

LIVE_CHECK = "live_release_learned_only_what_is_approved"
FALLEN = "examples_not_approved_any_more"
_NAMED_AT_MOST = 5


def decisions_of_now(installation: Installation) -> DecidedNow:
    """What the ledger's decisions approve at this moment, by the recipe's rules."""
    corrections = installation.stored("scrubbed_corrections").path
    with installation.ledger() as ledger:
        return decided_now(ledger, corrections, installation.recipe.review)


def has_fallen(stored: StoredInstructionSet, now: DecidedNow) -> bool:
    """Whether an example of the set is not approved any more. A set of before provenance was kept does not say."""
    provenance = stored.provenance
    return provenance is not None and bool(fallen_in(records_of(ProvenanceRow, provenance), now))


def require_decisions_stand(installation: Installation, stored: StoredInstructionSet) -> None:
    """Raise GateClosedError if an example of the set is not approved any more. Read from the ledger at the last moment."""
    provenance = stored.provenance
    if provenance is None:
        raise GateClosedError(
            f"Instruction set {stored.folder.name} does not say by which decisions its examples were approved: it was stored "
            "before that was kept. " + materialize_hint("instruction_sets", "adapters")
        )
    fallen = fallen_in(records_of(ProvenanceRow, provenance), decisions_of_now(installation))
    if fallen:
        named = ", ".join(sorted(fallen)[:_NAMED_AT_MOST]) + (", …" if len(fallen) > _NAMED_AT_MOST else "")
        raise GateClosedError(
            f"{len(fallen)} examples of the instruction set are not approved any more ({_in_words(fallen)}): {named}. Nothing is "
            "trained, judged, merged, released or newly served on it. See who decided: `fine-tune trace example ID`. "
            + materialize_hint("instruction_sets", "adapters")
        )


def _in_words(fallen: Mapping[str, Fall]) -> str:
    """Counts by what happened."""
    return ", ".join(f"{count} {fall}" for fall, count in sorted(Counter(fallen.values()).items()))


@dg.asset_check(
    asset="served_models",
    name=LIVE_CHECK,
    description="Every example that the release which answers users learned from is still approved, by the decisions of now.",
)
def live_release_learned_only_what_is_approved(installation: Installation) -> dg.AssetCheckResult:
    told = _told(installation)
    return warned(WHY not in told, **told)


def news_of_decisions(instance: dg.DagsterInstance, installation: Installation) -> list[dg.AssetCheckEvaluation]:
    """The check's result when a decision changed it: a revocation makes nothing of `served_models` anew."""
    told = _told(installation)
    return news_of_check(instance, LIVE_CHECK, FALLEN, told) if FALLEN in told else []


def _told(installation: Installation) -> dict[str, Any]:
    """What there is to say of the live release: nothing while none is live, and no count where nobody can tell."""
    settings, corrections = installation.settings, installation.stored("scrubbed_corrections").path
    with installation.ledger() as ledger:
        live = live_deployment(ledger)
        if live is None:
            return {}
        decided = decisions_fingerprint(ledger)
    rules = fingerprint_json(asdict(installation.recipe.review))
    authors = fingerprint_listing(corrections) if corrections.is_file() else ""
    place = [str(settings.data_dir), settings.database_url]
    found = _fallen_of_release(live.release_id, combine([*place, decided, rules, authors]))
    if found is None:
        unknown = (
            "The live release's instruction set is gone, or does not say by which decisions its examples were approved."
        )
        return {"release": live.release_id, WHY: unknown}
    why = f"The live release {live.release_id} learned from {len(found)} examples that are not approved any more: train again."
    by_fall = {f"{fall}_since": count for fall, count in sorted(Counter(found.values()).items())}
    return {FALLEN: len(found), "release": live.release_id, **by_fall, **({WHY: why} if found else {})}


@lru_cache(maxsize=1)
def _fallen_of_release(release_id: str, _as_of: str) -> dict[str, Fall] | None:
    """Remembered until somebody decides or revokes: it is asked for at every tick."""
    installation = Installation()
    with installation.ledger() as ledger:
        release = find_release(ledger, release_id)
        rows = None if release is None else learned_rows(installation.layout, ledger, release)
    return None if rows is None else fallen_in(map(ProvenanceRow.of, rows), decisions_of_now(installation))
