"""Decides which corrections are quarantined before review because they could poison the training, and why.

Pure: measurements and approvers' decisions are passed in.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from fine_tune_assets.core.fingerprints import fingerprint_json
from fine_tune_assets.core.shared_records import CLEAR, QuarantineDecision
from fine_tune_assets.recipes.schema import CorrectionSettings
from fine_tune_assets.tables.correction_rows import QuarantinedCorrection, ScrubbedCorrection
from fine_tune_assets.tables.record_classes import Record, table_from_records

REASONS: Mapping[str, str] = {
    "outlier": "far from every approved answer to the same task",
    "contradiction": "states the opposite of an approved example with nearly the same question",
    "flood": "one of many nearly identical corrections",
    "repeated_sentence": "adds a sentence that its author adds to many corrections",
    "missing_passages": "cites passages that no index contains any longer; who may see them is unknown, and if accepted "
    "the text may be memorized",
    "restricted_source": "cites a document that not everyone may see",
}
PENDING, ACCEPTED = "pending", "accepted"
BLOCKED = "blocked"
"""Can't be accepted by any decision: the model answers everyone."""
STATE_BY_OUTCOME = {"accept": ACCEPTED, "reject": "rejected"}


@dataclass(frozen=True)
class QuarantineSignals:
    """Measurements by correction id."""

    distances: Mapping[str, float | None]
    contradicted_examples: Mapping[str, Sequence[str]]
    near_duplicate_count: Mapping[str, int]
    repeated_sentence_count: Mapping[str, int] = field(default_factory=dict)
    missing_passages: Collection[str] = ()
    restricted_sources: Collection[str] = ()


class QuarantineState(Record):
    """The columns of `quarantined_corrections` that decide whether a correction becomes a draft."""

    correction_id: str
    fingerprint: str
    state: str


def content_fingerprint(correction: ScrubbedCorrection) -> str:
    """Fingerprint of the scrubbed texts and passages, to which a decision is bound."""
    row = correction.to_row()
    texts = {name: row[name] for name in ("instruction", "input", "output")}
    passages = {} if correction.passages is None else {"passages": row["passages"]}
    return fingerprint_json({**texts, "answer": correction.answer or "", **passages})


def quarantine_reasons(correction_id: str, signals: QuarantineSignals, settings: CorrectionSettings) -> list[str]:
    """Return the reasons for quarantine; empty if there are none. A missing distance never counts as a reason."""
    distance = signals.distances.get(correction_id)
    applies = {
        "outlier": distance is not None and distance > settings.outlier_distance,
        "contradiction": bool(signals.contradicted_examples.get(correction_id)),
        "flood": signals.near_duplicate_count.get(correction_id, 1) > settings.maximum_near_identical,
        "repeated_sentence": signals.repeated_sentence_count.get(correction_id, 0) > settings.maximum_near_identical,
        "missing_passages": correction_id in signals.missing_passages,
        "restricted_source": correction_id in signals.restricted_sources,
    }
    return [reason for reason in REASONS if applies[reason]]


def quarantine_corrections(
    corrections: Sequence[ScrubbedCorrection],
    signals: QuarantineSignals,
    settings: CorrectionSettings,
    decisions: Iterable[QuarantineDecision],
    already_approved: Collection[str] = (),
) -> pa.Table:
    """Build `quarantined_corrections`, one row per correction, sorted by id.

    The latest decision about a correction with the same texts applies. Corrections in `already_approved` stay clear, unless they
    cite a restricted source.
    """
    latest = {(d.correction_id, d.fingerprint): d for d in decisions}
    examined = []
    for correction in sorted(corrections, key=lambda correction: correction.correction_id):
        correction_id, fingerprint = correction.correction_id, content_fingerprint(correction)
        is_blocked = correction_id in signals.restricted_sources
        is_settled = correction_id in already_approved and not is_blocked
        decision = None if is_settled else latest.get((correction_id, fingerprint))
        reasons = [] if is_settled else quarantine_reasons(correction_id, signals, settings)
        examined.append(
            QuarantinedCorrection(
                correction_id=correction_id,
                author=correction.author,
                fingerprint=fingerprint,
                reasons=tuple(reasons),
                distance=signals.distances.get(correction_id),
                contradicted_examples=tuple(signals.contradicted_examples.get(correction_id, ())),
                near_duplicate_count=signals.near_duplicate_count.get(correction_id, 1),
                state=BLOCKED if is_blocked else _state(bool(reasons), decision),
                decided_by=None if decision is None else decision.person,
            )
        )
    return table_from_records(QuarantinedCorrection, examined)


def _state(is_suspicious: bool, decision: QuarantineDecision | None) -> str:
    """A rejected correction stays rejected, even if the reason no longer applies."""
    if decision is not None and (is_suspicious or decision.outcome == "reject"):
        return STATE_BY_OUTCOME[decision.outcome]
    return PENDING if is_suspicious else CLEAR


def can_be_drafted(correction: ScrubbedCorrection, states: Mapping[str, QuarantineState]) -> bool:
    """Whether exactly these texts were examined and are clear or accepted. `states`: by correction id."""
    state = states.get(correction.correction_id)
    if state is None or state.state not in (CLEAR, ACCEPTED):
        return False
    return state.fingerprint == content_fingerprint(correction)
