"""Validates what a reviewer submits and signs: decision, reason, meaning of the signature and permission.

Also defines the reason codes and signature meanings. Pure: reads no stored data.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from fine_tune_assets.approval.drafts import CORRECTION, content_fingerprint
from fine_tune_assets.approval.review_states import REJECTED, ReviewStatus
from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.fingerprints import fingerprint_json
from fine_tune_assets.core.people import is_same_person, person_key
from fine_tune_assets.core.shared_records import Decision
from fine_tune_assets.recipes.schema import ReviewSettings
from fine_tune_assets.tables.approval_rows import DraftedExample

Role = Literal["review", "adjudicate"]
_MAX_NAME_CHARACTERS = 200
REASON_CODES: Mapping[str, str] = {
    "unsupported": "States something that the input does not",
    "wrong_value": "A number, unit, date or side is wrong",
    "incomplete": "Omits important content",
    "contradiction": "Contradicts the input or itself",
    "wrong_task": "Does not follow the instruction",
    "unusable_input": "The input is cut off, garbled or unusable",
    "residual_identifier": "Contains an identifier that should have been removed",
    "unsafe": "Could do harm if a model learned it",
    "style": "Not written in the required style",
    "other": "Another reason, in words",
}
"""Reason code → description. `other` needs a written reason."""
MEANINGS: Mapping[str, str] = {
    "approve": "I read input and output; the output is right as drafted and may be trained on.",
    "approve_repaired": "I read input and output; the output is right as I repaired it and may be trained on.",
    "reject": "I read input and output; this example must not be trained on.",
    "adjudicate_approve": "I read both decisions; the output is right as it stands here and may be trained on.",
    "adjudicate_reject": "I read both decisions; this example must not be trained on.",
}
"""Declaration that a signature makes, by kind of decision."""


class ReviewError(FineTuneError):
    """The review is invalid and was not recorded."""


class StaleItemError(ReviewError):
    """The item changed since it was opened. Nothing was recorded."""


class NotAllowedError(ReviewError):
    """This person may not make this decision."""


@dataclass(frozen=True)
class DecisionSubmission:
    """A decision as submitted by a reviewer."""

    reviewer: str
    role: Role
    decision: str
    output: str | None
    reason_code: str
    reason: str
    meaning: str
    """The signed text of MEANINGS or its key; empty means the one that belongs to the decision."""
    acknowledged_kinds: tuple[str, ...] = ()
    """Kinds of the flags that the reviewer acknowledged, one for each flag."""


def signature_meaning(decision: str, is_repaired: bool, role: str = "review") -> str:
    """The meaning of a signature under such a decision."""
    if role == "adjudicate":
        return MEANINGS[f"adjudicate_{decision}"]
    return MEANINGS["approve_repaired" if decision == "approve" and is_repaired else decision]


def complete_submission(submission: DecisionSubmission, draft: DraftedExample) -> DecisionSubmission:
    """Normalize the submission: an output equal to the draft's is not a repair. Raises ReviewError if it is invalid."""
    example_id = draft.example_id
    if submission.decision not in ("approve", "reject"):
        raise ReviewError(f"The decision on example {example_id} must be approve or reject.")
    if not person_key(submission.reviewer) or len(submission.reviewer) > _MAX_NAME_CHARACTERS:
        raise ReviewError(
            f"The decision on example {example_id} needs a reviewer's name of at most {_MAX_NAME_CHARACTERS} characters."
        )
    if "\0" in f"{submission.output}{submission.reason}":
        raise ReviewError(f"The text for example {example_id} contains a NUL character. Remove it.")
    reason = submission.reason.strip()
    output = _clean_output(submission, draft)
    if submission.decision == "reject":
        _require_reason(submission.reason_code, reason, example_id)
    elif submission.reason_code:
        raise ReviewError(f"An approval of example {example_id} can't have a rejection reason.")
    meaning = signature_meaning(submission.decision, output is not None, submission.role)
    if submission.meaning and MEANINGS.get(submission.meaning, submission.meaning) != meaning:
        raise ReviewError(
            f"The signed meaning for example {example_id} does not match the decision. Open the example again."
        )
    return replace(submission, reviewer=submission.reviewer.strip(), output=output, reason=reason, meaning=meaning)


def make_decision(
    submission: DecisionSubmission, draft: DraftedExample, *, decision_id: str, decided_at: datetime
) -> Decision:
    """The decision that a complete submission makes about the draft."""
    return Decision(
        decision_id=decision_id,
        example_id=draft.example_id,
        fingerprint=draft.fingerprint,
        report_id=draft.report_id,
        task=draft.task,
        decision=submission.decision,  # type: ignore[arg-type]
        output=submission.output,
        reviewer=submission.reviewer,
        decided_at=decided_at,
        role=submission.role,
        approved_fingerprint=fingerprint_approved_content(submission, draft),
        meaning=submission.meaning,
        reason_code=submission.reason_code,
    )


def fingerprint_approved_content(submission: DecisionSubmission, draft: DraftedExample) -> str | None:
    """Fingerprint of exactly what the submission approves; None for a rejection."""
    if submission.decision == "reject":
        return None
    output = draft.output if submission.output is None else submission.output
    return content_fingerprint(draft.instruction, draft.input, output)


def acknowledgement_code(approved_fingerprint: str, flag: str) -> str:
    """What a client sends back to acknowledge one flag of exactly this content."""
    return fingerprint_json([approved_fingerprint, flag])


def require_acknowledged(approved_fingerprint: str, flags: Collection[str], codes: Collection[str]) -> None:
    """Raise ReviewError unless the codes acknowledge exactly the flags of this content."""
    if set(codes) != {acknowledgement_code(approved_fingerprint, flag) for flag in flags}:
        raise ReviewError(
            f"The text has {len(flags)} flag{'' if len(flags) == 1 else 's'}, and the form does not acknowledge exactly these. "
            "Nothing was recorded. Read each flag, tick it, and sign again."
        )


def require_not_author(submission: DecisionSubmission, draft: DraftedExample, authors: set[str | None]) -> None:
    """Raise NotAllowedError if the reviewer wrote the content or its author is unknown."""
    known = {author for author in authors if author is not None}
    if draft.source == CORRECTION and not known:
        raise NotAllowedError(
            f"The author of the correction behind example {draft.example_id} is unknown, so it can't be reviewed."
        )
    if any(is_same_person(author, submission.reviewer) for author in known):
        raise NotAllowedError(
            f"{submission.reviewer} wrote the correction behind example {draft.example_id}. Another reviewer has to decide."
        )


def require_review_permission(
    submission: DecisionSubmission,
    example_id: str,
    status: ReviewStatus,
    rules: ReviewSettings,
    revoked: Collection[str],
) -> None:
    """Raise NotAllowedError if this person may not review, or no review is open.

    `revoked` holds the keys of people with a revoked decision about this content, who may know the other decision by now.
    """
    if status.state == "disagreement":
        raise NotAllowedError(
            f"The reviewers of example {example_id} disagree. A person who has not decided on it has to adjudicate."
        )
    if rules.reviewers == 1:
        return
    if status.state == "second_review" and person_key(submission.reviewer) in status.reviewer_keys:
        raise NotAllowedError(
            f"{submission.reviewer} gave the first review of example {example_id}. Another person gives the second. To "
            "change your decision, revoke it first."
        )
    if status.state == "second_review" and person_key(submission.reviewer) in revoked:
        raise NotAllowedError(
            f"{submission.reviewer} has decided on example {example_id} before and may know the first decision. Another "
            "person gives the second review."
        )
    if status.state in ("approved", "rejected"):
        raise NotAllowedError(f"Example {example_id} is {status.state}. Revoke a decision to reopen it.")


def require_adjudication_permission(
    submission: DecisionSubmission, draft: DraftedExample, status: ReviewStatus, rules: ReviewSettings
) -> None:
    """Raise NotAllowedError unless there is a disagreement that this person is not part of."""
    example_id = draft.example_id
    if status.state != "disagreement":
        raise NotAllowedError(f"Example {example_id} has no disagreement to adjudicate.")
    if person_key(submission.reviewer) in status.reviewer_keys:
        raise NotAllowedError(
            f"{submission.reviewer} already decided on example {example_id}. A third person has to adjudicate."
        )
    outcome = fingerprint_approved_content(submission, draft) or REJECTED
    known = {vote.outcome for vote in status.votes}
    if rules.own_edits == "second_person" and outcome != REJECTED and outcome not in known:
        raise NotAllowedError(
            f"An adjudicator of example {example_id} must approve one of the decided texts or reject it: no other "
            "person would have approved a new text."
        )


def _clean_output(submission: DecisionSubmission, draft: DraftedExample) -> str | None:
    if submission.output is None:
        return None
    if submission.decision == "reject":
        raise ReviewError(f"Example {draft.example_id} can't be both rejected and repaired.")
    output = submission.output.replace("\r\n", "\n").strip()  # browsers send CRLF, which is not a repair
    if not output:
        raise ReviewError(f"The repaired output of example {draft.example_id} is empty. Reject the draft instead.")
    return None if output == draft.output.strip() else output


def _require_reason(code: str, reason: str, example_id: str) -> None:
    if code not in REASON_CODES:
        raise ReviewError(f"Rejecting example {example_id} needs one of these reasons: {', '.join(REASON_CODES)}.")
    if code == "other" and not reason:
        raise ReviewError(f"The reason `other` for example {example_id} needs a written reason.")
