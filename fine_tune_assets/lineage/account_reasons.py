"""The registry of reasons for which a report, a draft or an example is left out, with the stage that decides it and the remedy.

Every reason of the account is in here. The texts contain names of settings, commands and pages, never report text.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fine_tune_assets.tables.approval_rows import UndraftedReason, WithheldExampleReason
from fine_tune_assets.tables.dedup_rows import UncomparedReason


@dataclass(frozen=True)
class Stage:
    name: str
    title: str
    enters: str
    """What the stage receives, in the plural."""
    leaves: str
    """What it passes on."""
    asset: str
    """Its page in the Dagster UI explains the stage."""


READ: Final = Stage("read", "Read", "files and records", "reports", "reports")
SCRUB: Final = Stage("scrub", "Scrubbed", "reports", "scrubbed reports", "scrubbed_reports")
COMPARE: Final = Stage("compare", "Compared", "scrubbed reports", "unique reports", "unique_reports")
DRAFT: Final = Stage("draft", "Drafted", "unique reports", "reports with drafts", "drafted_examples")
REVIEW: Final = Stage("review", "Reviewed", "drafts", "approved examples", "approved_examples")
SET: Final = Stage("set", "In the set", "approved examples", "examples in the set", "instruction_sets")
STAGES = (READ, SCRUB, COMPARE, DRAFT, REVIEW, SET)


@dataclass(frozen=True)
class Reason:
    name: str
    stage: Stage
    meaning: str
    """Completes "3 reports: …"."""
    remedy: str
    """The setting, page or command that would keep them; code is between backticks, with at most one command."""
    is_expected: bool = False
    """Whether leaving them out is what the recipe or a person decided, or they wait for a person."""


_MATERIALIZE = "`fine-tune materialize`"
_UNFINISHED = f"Run {_MATERIALIZE}; if it fails, it prints the reason."

_ALL = (
    Reason(
        "unreadable",
        READ,
        "could not be read",
        "Repair and deliver them again; the page Intake names each file and its remedy.",
    ),
    Reason("not_read", READ, "in a batch that was not read", _UNFINISHED),
    Reason(
        "erased",
        SCRUB,
        "of an erased subject",
        "Finish the erasure: run `fine-tune subjects erase KEY --reason REASON` again.",
        is_expected=True,
    ),
    Reason(
        "residual_phi",
        SCRUB,
        "withheld, because residual PHI was found after scrubbing",
        "`scrub.withhold_score` sets the score from which a report is withheld; a trained tagger (`scrub.entity_model`) finds "
        "more identifiers before that.",
    ),
    Reason(
        "unscrubbable",
        SCRUB,
        "withheld, because scrubbing took too much time or memory",
        "Run `fine-tune materialize scrubbed_reports` to try again; a shorter report takes less.",
    ),
    Reason("not_scrubbed", SCRUB, "not scrubbed", _UNFINISHED),
    Reason(
        UncomparedReason.EARLIER_SCRUBBER.value,
        COMPARE,
        "waiting to be scrubbed again, because the rules of the scrubber changed",
        _UNFINISHED,
    ),
    Reason(
        UncomparedReason.SURROGATE_COLLISION.value,
        COMPARE,
        "waiting to be scrubbed again, because an invented value of their batch is a real value in another batch",
        _UNFINISHED,
    ),
    Reason(
        UncomparedReason.MARKED_IDENTIFIER.value,
        COMPARE,
        "waiting to be scrubbed again, because a reviewer marked an identifier that was missed",
        _UNFINISHED,
    ),
    Reason(
        "duplicate",
        COMPARE,
        "dropped as duplicates",
        "`dedup.near_threshold` and `dedup.semantic_threshold` decide; the table `duplicate_reports` names the kept report.",
        is_expected=True,
    ),
    Reason("not_compared", COMPARE, "not compared with the others yet", _UNFINISHED),
    Reason(
        UndraftedReason.NOT_USED.value,
        DRAFT,
        "without a draft",
        "Change `tasks` in the recipe; `fine-tune recipe check --reports FOLDER` says why a report produces no draft.",
    ),
    Reason(
        UndraftedReason.DRAFT_DROPPED.value,
        DRAFT,
        "without a draft, because the check dropped what a model wrote",
        "Another verifier (`judge.verifier`) checks them again.",
    ),
    Reason(
        UndraftedReason.DRAFT_MISSING.value,
        DRAFT,
        "without a draft, because no model wrote it or nothing checked it",
        "`fine-tune materialize model_drafts` writes them; its log says what is missing.",
    ),
    Reason("not_drafted", DRAFT, "not drafted yet", _UNFINISHED),
    Reason("waiting", REVIEW, "waiting for a review", "Review them on the desk: /queue.", is_expected=True),
    Reason(
        "second_review", REVIEW, "waiting for a second reviewer", "Review them on the desk: /queue.", is_expected=True
    ),
    Reason(
        "disagreement", REVIEW, "waiting for an adjudicator", "Decide on the desk: /disagreements.", is_expected=True
    ),
    Reason(
        "rejected",
        REVIEW,
        "rejected",
        "The page Decisions lists them; a decision can be revoked there.",
        is_expected=True,
    ),
    Reason(
        WithheldExampleReason.MARKED_IDENTIFIER.value,
        REVIEW,
        "approved and withheld, because they contain an identifier that a reviewer marked",
        "Their batches are scrubbed again; then review the new drafts.",
    ),
    Reason(
        WithheldExampleReason.RESTRICTED_DOCUMENT.value,
        REVIEW,
        "approved and withheld, because access to a document that they quote was restricted",
        "Widen the labels of the document, or leave them out.",
        is_expected=True,
    ),
    Reason(
        WithheldExampleReason.AUTHOR_SHARE.value,
        REVIEW,
        "approved and waiting, because one author wrote too many corrections",
        "`corrections.maximum_author_fraction` sets the share of one author.",
        is_expected=True,
    ),
    Reason("not_approved", REVIEW, "decided since the last run", "Run `fine-tune materialize approved_examples`."),
    Reason(
        "excluded",
        SET,
        "not in the instruction set",
        "`dedup.near_threshold`, `dedup.semantic_threshold` and `split.test_from` decide; an exact repetition would count twice.",
        is_expected=True,
    ),
    Reason(
        "not_in_set",
        SET,
        "approved since the last instruction set, or before the first one",
        "Run `fine-tune materialize instruction_sets`; if a gate is closed, it prints the reason.",
    ),
)
REASONS: Mapping[str, Reason] = {reason.name: reason for reason in _ALL}
"""Name → reason, in the order of the stages."""
WITHHELD = ("residual_phi", "unscrubbable")
"""Reasons for which the scrubber withheld a report."""
