"""Which corrections are kept apart before anybody is asked to review them, and why: they could poison the training.

Owns the reasons, their thresholds' use, and what a decision about one is worth. Pure: figures and decisions are handed in.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from fine_tune_assets.core.fingerprints import fingerprint_json
from fine_tune_assets.core.records import ORDINARY, QuarantineDecision
from fine_tune_assets.recipes.schema import CorrectionSettings
from fine_tune_assets.tables.corrections import QuarantinedCorrection, ScrubbedCorrection
from fine_tune_assets.tables.records import Record, table_from

REASONS: Mapping[str, str] = {
    "outlier": "far from every approved answer to the same task",
    "contradiction": "states the opposite of an approved example with nearly the same question",
    "flood": "one of many that say nearly the same",
    "passages_gone": "of an answer from passages that no index holds any more; nobody knows who may see them, and let through "
    "it is learned by heart",
    "not_for_everyone": "of an answer from a document that not everyone may see",
}
WAITING, LET_THROUGH = "waiting", "let_through"
BARRED = "barred"
"""No decision lets it through: the model answers everyone."""
STATE_OF = {"let_through": LET_THROUGH, "reject": "rejected"}


@dataclass(frozen=True)
class Figures:
    """What was measured of the corrections, by id."""

    distances: Mapping[str, float | None]
    contradicts: Mapping[str, Sequence[str]]
    near_identical: Mapping[str, int]
    passages_gone: Collection[str] = ()
    not_for_everyone: Collection[str] = ()


class Examined(Record):
    """What of `quarantined_corrections` decides whether a correction becomes a draft."""

    correction_id: str
    fingerprint: str
    state: str


def seen_fingerprint(correction: ScrubbedCorrection) -> str:
    """Of the scrubbed texts, the passages among them where there are any: a decision is about exactly these."""
    told = correction.as_row()
    texts = {name: told[name] for name in ("instruction", "input", "output")}
    passages = {} if correction.passages is None else {"passages": told["passages"]}
    return fingerprint_json({**texts, "answer": correction.answer or "", **passages})


def reasons_of(correction_id: str, figures: Figures, settings: CorrectionSettings) -> list[str]:
    """Why it goes into quarantine; empty for an ordinary one. A distance that could not be measured says nothing."""
    distance = figures.distances.get(correction_id)
    found = {
        "outlier": distance is not None and distance > settings.outlier_distance,
        "contradiction": bool(figures.contradicts.get(correction_id)),
        "flood": figures.near_identical.get(correction_id, 1) > settings.maximum_near_identical,
        "passages_gone": correction_id in figures.passages_gone,
        "not_for_everyone": correction_id in figures.not_for_everyone,
    }
    return [reason for reason in REASONS if found[reason]]


def quarantine(
    corrections: Sequence[ScrubbedCorrection],
    figures: Figures,
    settings: CorrectionSettings,
    decisions: Iterable[QuarantineDecision],
    approved_before: Collection[str] = (),
) -> pa.Table:
    """`quarantined_corrections`: a row for each, sorted by id. The last decision about one and its texts counts, and those whose
    ids are in `approved_before` are ordinary whatever they look like now, unless not everyone may see what they rest on."""
    latest = {(d.correction_id, d.fingerprint): d for d in decisions}
    examined = []
    for correction in sorted(corrections, key=lambda correction: correction.correction_id):
        own, fingerprint = correction.correction_id, seen_fingerprint(correction)
        is_barred = own in figures.not_for_everyone
        is_settled = own in approved_before and not is_barred
        decision = None if is_settled else latest.get((own, fingerprint))
        reasons = [] if is_settled else reasons_of(own, figures, settings)
        examined.append(
            QuarantinedCorrection(
                correction_id=own,
                author=correction.author,
                fingerprint=fingerprint,
                reasons=tuple(reasons),
                distance=figures.distances.get(own),
                contradicts=tuple(figures.contradicts.get(own, ())),
                near_identical=figures.near_identical.get(own, 1),
                state=BARRED if is_barred else _state(bool(reasons), decision),
                decided_by=None if decision is None else decision.person,
            )
        )
    return table_from(QuarantinedCorrection, examined)


def _state(is_suspicious: bool, decision: QuarantineDecision | None) -> str:
    """What an approver rejected stays so, also when the reason has gone."""
    if decision is not None and (is_suspicious or decision.outcome == "reject"):
        return STATE_OF[decision.outcome]
    return WAITING if is_suspicious else ORDINARY


def may_be_drafted(correction: ScrubbedCorrection, examined: Mapping[str, Examined]) -> bool:
    """Whether exactly its texts were examined and nothing is against them. `examined`: by correction id."""
    found = examined.get(correction.correction_id)
    if found is None or found.state not in (ORDINARY, LET_THROUGH):
        return False
    return found.fingerprint == seen_fingerprint(correction)
