"""What a reviewer says of a draft and signs: the decision, the reason, and the words of the signature.

Owns the list of reasons, what a signature declares, that what is said is complete, and who may say it. Pure: reads nothing.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from fine_tune_assets.approval.drafts import CORRECTION, content_fingerprint
from fine_tune_assets.approval.states import REJECTED, Standing
from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.people import is_same_person, person_key
from fine_tune_assets.recipes.schema import ReviewSettings
from fine_tune_assets.tables.approval import DraftedExample

Role = Literal["review", "adjudicate"]
_LONGEST_NAME = 200
REASON_CODES: Mapping[str, str] = {
    "unsupported": "States something that the input does not say",
    "wrong_value": "A number, unit, date or side is wrong",
    "incomplete": "Leaves out what matters",
    "contradiction": "Contradicts the input or itself",
    "wrong_task": "Does not do what the instruction asks",
    "unusable_input": "The input is cut off, garbled or of no use",
    "identifier_left": "Holds an identifier that should have been removed",
    "unsafe": "Could harm a patient if a model learned it",
    "style": "Not how it should be written",
    "other": "Another reason, in words",
}
"""Code → what it says. `other` needs words."""
MEANINGS: Mapping[str, str] = {
    "approve": "I read input and output; the output is right as drafted and may be trained on.",
    "approve_repaired": "I read input and output; the output is right as I repaired it and may be trained on.",
    "reject": "I read input and output; this example must not be trained on.",
    "adjudicate_approve": "I read both decisions; the output is right as it stands here and may be trained on.",
    "adjudicate_reject": "I read both decisions; this example must not be trained on.",
}
"""What a signature declares, by kind of decision."""


class ReviewError(FineTuneError):
    """A review can't be recorded as it was asked for."""


class StaleItemError(ReviewError):
    """Somebody changed the item since it was opened. Nothing was recorded."""


class NotAllowedError(ReviewError):
    """This person may not decide this, whatever they decide."""


@dataclass(frozen=True)
class Word:
    """What somebody wants to say of a draft."""

    reviewer: str
    role: Role
    decision: str
    output: str | None
    reason_code: str
    reason: str
    meaning: str
    """The text of MEANINGS that was signed, or its key; empty stands for the one that belongs to the decision."""


def meaning_of(decision: str, is_repaired: bool, role: str = "review") -> str:
    """What a signature under such a decision declares."""
    if role == "adjudicate":
        return MEANINGS[f"adjudicate_{decision}"]
    return MEANINGS["approve_repaired" if decision == "approve" and is_repaired else decision]


def completed(word: Word, draft: DraftedExample) -> Word:
    """The word as it is recorded: an output that is the draft's is no repair. Raises ReviewError where it makes no sense."""
    example_id = draft.example_id
    if word.decision not in ("approve", "reject"):
        raise ReviewError(f"A decision on example {example_id} must be approve or reject.")
    if not person_key(word.reviewer) or len(word.reviewer) > _LONGEST_NAME:
        raise ReviewError(
            f"A decision on example {example_id} needs the reviewer's name, of at most {_LONGEST_NAME} letters."
        )
    if "\0" in f"{word.output}{word.reason}":
        raise ReviewError(f"The text for example {example_id} holds a NUL character. Remove it.")
    reason = word.reason.strip()
    output = _output_of(word, draft)
    if word.decision == "reject":
        _require_reason(word.reason_code, reason, example_id)
    elif word.reason_code:
        raise ReviewError(f"Example {example_id} can't be approved for a reason to reject it.")
    meaning = meaning_of(word.decision, output is not None, word.role)
    if word.meaning and MEANINGS.get(word.meaning, word.meaning) != meaning:
        raise ReviewError(
            f"What was signed for example {example_id} is not what this decision declares. Open it again."
        )
    return replace(word, reviewer=word.reviewer.strip(), output=output, reason=reason, meaning=meaning)


def approved_content(word: Word, draft: DraftedExample) -> str | None:
    """Fingerprint of exactly what the word approves; None for a rejection."""
    if word.decision == "reject":
        return None
    output = draft.output if word.output is None else word.output
    return content_fingerprint(draft.instruction, draft.input, output)


def require_author_is_another(word: Word, draft: DraftedExample, authors: set[str | None]) -> None:
    """Raise NotAllowedError where the reviewer wrote what is decided on, or nobody knows who did."""
    known = {author for author in authors if author is not None}
    if draft.source == CORRECTION and not known:
        raise NotAllowedError(
            f"The author of the correction behind {draft.example_id} is not known, so nobody can decide on it."
        )
    if any(is_same_person(author, word.reviewer) for author in known):
        raise NotAllowedError(
            f"{word.reviewer} wrote the correction behind {draft.example_id}. Another reviewer has to decide."
        )


def require_may_review(
    word: Word, example_id: str, standing: Standing, rules: ReviewSettings, revoked: Collection[str]
) -> None:
    """Raise NotAllowedError where a first or second look is not this person's, or no longer asked for.

    `revoked` holds the keys of those whose word about this content was revoked: they may have seen the other's by then.
    """
    if standing.state == "disagreement":
        raise NotAllowedError(
            f"The reviewers of {example_id} disagree. Somebody who is none of them has to adjudicate."
        )
    if rules.reviewers == 1:
        return
    if standing.state == "second_review" and person_key(word.reviewer) in standing.people:
        raise NotAllowedError(
            f"{word.reviewer} gave the first look at {example_id}. Another person gives the second one; to change your "
            "mind, revoke your decision first."
        )
    if standing.state == "second_review" and person_key(word.reviewer) in revoked:
        raise NotAllowedError(
            f"{word.reviewer} decided on {example_id} before and may know the first decision. Another person gives the "
            "second look."
        )
    if standing.state in ("approved", "rejected"):
        raise NotAllowedError(f"{example_id} is {standing.state}. Revoke a decision to open it again.")


def require_may_adjudicate(word: Word, draft: DraftedExample, standing: Standing, rules: ReviewSettings) -> None:
    """Raise NotAllowedError unless there is a disagreement that this person is no part of."""
    example_id = draft.example_id
    if standing.state != "disagreement":
        raise NotAllowedError(f"There is nothing to adjudicate about {example_id}: its reviewers do not disagree.")
    if person_key(word.reviewer) in standing.people:
        raise NotAllowedError(f"{word.reviewer} decided on {example_id} already. A third person has to adjudicate.")
    outcome = approved_content(word, draft) or REJECTED
    known = {vote.outcome for vote in standing.counting}
    if rules.own_edits == "second_person" and outcome != REJECTED and outcome not in known:
        raise NotAllowedError(
            f"An adjudicator of {example_id} approves one of the texts that were decided on, or rejects it: nobody else "
            "would have approved a text of your own."
        )


def _output_of(word: Word, draft: DraftedExample) -> str | None:
    if word.output is None:
        return None
    if word.decision == "reject":
        raise ReviewError(f"Example {draft.example_id} can't be rejected and repaired at once.")
    output = word.output.replace("\r\n", "\n").strip()  # browsers send CRLF: that is no repair
    if not output:
        raise ReviewError(f"The repaired output of {draft.example_id} is empty. Reject the draft instead.")
    return None if output == draft.output.strip() else output


def _require_reason(code: str, reason: str, example_id: str) -> None:
    if code not in REASON_CODES:
        raise ReviewError(f"To reject example {example_id}, give one of these reasons: {', '.join(REASON_CODES)}.")
    if code == "other" and not reason:
        raise ReviewError(f"The reason `other` for example {example_id} needs words.")
