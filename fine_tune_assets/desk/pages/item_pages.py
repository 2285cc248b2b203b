"""Page of one item: the output with its flags, the report and input next to it, the diff against the draft, and the signature.

Opening an item claims it for the reviewer for a limited time. What they type is kept until they decide. `decision_pages` records
decisions.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from markdown_it import MarkdownIt
from starlette.responses import Response

from fine_tune_assets.approval.draft_checks import check_repair
from fine_tune_assets.approval.drafts import CORRECTION, content_fingerprint
from fine_tune_assets.approval.review_history import DecisionEntry, find_output_to_review, is_blind_review, list_history
from fine_tune_assets.approval.sign_off import (
    MEANINGS,
    REASON_CODES,
    DecisionSubmission,
    ReviewError,
    acknowledgement_code,
    complete_submission,
    fingerprint_approved_content,
)
from fine_tune_assets.approval.task_kinds import list_headings
from fine_tune_assets.core.people import is_same_person
from fine_tune_assets.core.prompts.retrieval_contract import strip_passages
from fine_tune_assets.desk.desk_context import Desk
from fine_tune_assets.desk.error_pages import PageError, not_found
from fine_tune_assets.desk.identical_cases import count_identical_cases
from fine_tune_assets.desk.pages.input_comparison import compare_input
from fine_tune_assets.desk.pages.mark_pages import AbsentItemError, item_removed, item_withheld, render_absent_item
from fine_tune_assets.desk.pages.marked_text import (
    SOURCED,
    DiffPiece,
    Piece,
    TextSpan,
    diff_words,
    find_flagged_places,
    list_families,
    mark_diff_spans,
    mark_placeholders,
    mark_spans,
)
from fine_tune_assets.desk.pages.queue_pages import STATE_LABELS, read_query
from fine_tune_assets.desk.pages.related_texts import find_corrected_answer, find_dropped_duplicates
from fine_tune_assets.desk.pages.scan_notes import find_scanned_text, mark_found_words
from fine_tune_assets.desk.rendering import redirect_to, render_page
from fine_tune_assets.desk.request_context import RequestContext
from fine_tune_assets.desk.review_pace import MAX_DECISIONS, Progress, measure_progress
from fine_tune_assets.ledger.reviews.decision_records import list_decision_times
from fine_tune_assets.ledger.reviews.review_items import (
    DECIDABLE_STATES,
    REVIEW_STATES,
    AssignedError,
    claim_item,
    count_free_items,
    find_item,
)
from fine_tune_assets.ledger.reviews.review_rows import ReviewItem
from fine_tune_assets.ledger.reviews.saved_edits import SavedEdit, delete_edit, find_edit, save_edit
from fine_tune_assets.lineage.final_text_findings import ScannedText
from fine_tune_assets.recipes.domain_packs import load_pack
from fine_tune_assets.recipes.schema import ReviewSettings
from fine_tune_assets.tables.approval_rows import DraftedExample
from fine_tune_assets.tables.common_columns import Passage
from fine_tune_assets.tables.correction_rows import ScrubbedCorrection

MAX_CHECKED_CHARACTERS = 20_000
"""Characters. The check runs while the reviewer types, and takes a second for 200,000."""
_NOT_CHECKED = f"not checked: texts of more than {MAX_CHECKED_CHARACTERS:,} characters are not compared with the input"


@dataclass(frozen=True)
class SignaturePreview:
    """An approval before it is signed."""

    text: str
    fingerprint: str
    """Fingerprint of instruction, input and this text."""
    is_repaired: bool
    flags: tuple[str, ...]
    """The flags of this text, each of which the reviewer has to acknowledge."""
    spans: list[TextSpan]
    """The flagged places."""

    @property
    def pieces(self) -> list[Piece]:
        return mark_spans(self.text, self.spans)

    @property
    def acknowledgements(self) -> list[tuple[str, str]]:
        """Each flag with the code that acknowledges it."""
        return [(flag, acknowledgement_code(self.fingerprint, flag)) for flag in self.flags]

    @property
    def meaning_key(self) -> str:
        return "approve_repaired" if self.is_repaired else "approve"

    @property
    def meaning(self) -> str:
        return MEANINGS[self.meaning_key]


def preview_signature(draft: DraftedExample, output: str, reviewer: str, domain: str) -> SignaturePreview:
    """What is recorded if `reviewer` approves this output. Raises ReviewError if it can't be approved."""
    submission = complete_submission(DecisionSubmission(reviewer, "review", "approve", output, "", "", ""), draft)
    fingerprint = fingerprint_approved_content(submission, draft)
    assert fingerprint is not None
    text = draft.output if submission.output is None else submission.output
    flags, spans = flag_text(draft, text, domain)
    return SignaturePreview(text, fingerprint, submission.output is not None, tuple(flags), spans)


@dataclass(frozen=True)
class OpenItem:
    """An item with its draft and the correction behind it."""

    item: ReviewItem
    draft: DraftedExample
    correction: ScrubbedCorrection | None

    @property
    def author(self) -> str | None:
        """The author of the correction, who can't decide on it."""
        return None if self.correction is None else self.correction.author

    @property
    def passages(self) -> tuple[Passage, ...]:
        """Scrubbed passages before the question of a correction's draft; empty for other drafts."""
        if self.correction is None or not strip_passages(self.draft.instruction, self.draft.input).documents:
            return ()
        return self.correction.passages or ()


def show_item(desk: Desk, context: RequestContext, typed: str | None = None) -> Response:
    try:
        opened = find_open_item(desk, context)
    except AbsentItemError as absent:
        return render_absent_item(desk, context, absent, typed or "")
    try:
        return render_item(desk, context, opened, typed=typed)
    except AssignedError:
        item = find_item(desk.ledger, opened.item.example_id)
        if item is None:
            raise not_found() from None
        query = read_query(context)
        return render_page(
            desk, context, "claimed.html", status=409, item=item, query=query, typed=context.form.get_text("output")
        )


def reopen_item(desk: Desk, context: RequestContext) -> Response:
    """The current item with the text that the user typed before."""
    return show_item(desk, context, typed=context.form.get_text("output"))


def show_diff(desk: Desk, context: RequestContext) -> Response:
    """Diff and flags of the text in the editor. Keeps the text, and renews the reviewer's claim while they type."""
    opened, output = find_open_item(desk, context), context.form.get_text("output")
    if not _find_closed_reason(context, opened, _list_own_decisions(desk, context, opened)):
        _renew_claim(desk, context, opened)
        keep_edit(desk, context, opened.item, opened.draft, output)
    flags, pieces = diff_against_draft(opened.draft, output, desk.read_recipe().domain)
    return render_page(desk, context, "edit_preview.html", flags=flags, pieces=pieces)


def keep_edit(desk: Desk, context: RequestContext, item: ReviewItem, draft: DraftedExample, output: str) -> None:
    """Keep what the reviewer has typed, or drop it if it is what the page showed."""
    shown = find_output_to_review(desk.ledger, draft, desk.read_review_settings())
    if output.strip() == shown.strip():
        delete_edit(desk.ledger, item.example_id, context.user.name)
        return
    base = fingerprint_base(draft, shown)
    save_edit(desk.ledger, desk.key, item, context.user.name, base_fingerprint=base, text=output, now=context.now)


def fingerprint_base(draft: DraftedExample, shown: str) -> str:
    """Fingerprint of the content that an edit changes: the draft, or the repair to review."""
    return content_fingerprint(draft.instruction, draft.input, shown)


def _find_kept_edit(desk: Desk, context: RequestContext, opened: OpenItem, shown: str) -> SavedEdit | None:
    """The reviewer's edit of exactly this content, unless it contains a marked identifier."""
    edit = find_edit(desk.ledger, desk.key, opened.item.example_id, context.user.name)
    if edit is None or edit.base_fingerprint != fingerprint_base(opened.draft, shown):
        return None
    return None if desk.withheld.has_missed_term(opened.draft.subject_key, edit.text) else edit


def discard_edit(desk: Desk, context: RequestContext) -> Response:
    """Delete the reviewer's edit, and show the item without it."""
    example_id = context.path_param("example_id")
    delete_edit(desk.ledger, example_id, context.user.name)
    return redirect_to(read_query(context).make_url(f"/items/{quote(example_id, safe='')}"))


def diff_against_draft(draft: DraftedExample, output: str, domain: str) -> tuple[list[str], list[DiffPiece]]:
    """The flags of a text, and its diff against the draft with the flagged places marked."""
    text = output.replace("\r\n", "\n").strip()
    flags, spans = flag_text(draft, text, domain)
    return flags, mark_diff_spans(diff_words(draft.output, text), spans)


def flag_text(draft: DraftedExample, text: str, domain: str) -> tuple[list[str], list[TextSpan]]:
    """As `flag_checked`, with the checks of a domain pack."""
    return flag_checked(draft, text, load_pack(domain).pack.checks)


def flag_checked(draft: DraftedExample, text: str, checks: Collection[str]) -> tuple[list[str], list[TextSpan]]:
    """The flags of a text, and the spans of flagged places and their sentences.

    A repaired text over `MAX_CHECKED_CHARACTERS` is not checked; its only flag says so.
    """
    if text != draft.output and len(text) > MAX_CHECKED_CHARACTERS:
        return [_NOT_CHECKED], []
    flags = check_repair(draft, text, checks)
    return flags, find_flagged_places(text, flags)


def show_signature_preview(desk: Desk, context: RequestContext) -> Response:
    opened, output = find_open_item(desk, context), context.form.get_text("output")
    signature = _make_signature_context(opened.draft, output, context, desk.read_recipe().domain)
    return render_page(desk, context, "signature_preview.html", **signature)


def _make_signature_context(draft: DraftedExample, output: str, context: RequestContext, domain: str) -> dict[str, Any]:
    try:
        return {"signing": preview_signature(draft, output, context.user.name, domain), "unsigned": ""}
    except ReviewError as error:
        return {"signing": None, "unsigned": str(error)}


def find_open_item(desk: Desk, context: RequestContext) -> OpenItem:
    """Raises AbsentItemError if the item is withheld because of a mark or no longer current, and PageError if it is unknown."""
    example_id = context.path_param("example_id")
    item = find_item(desk.ledger, example_id)
    if item is None:
        raise PageError(404, "Item not found", "No item has this id. Take another one from the queue.")
    draft = desk.stored_texts.find_draft(example_id) if item.removed_at is None else None
    if draft is None:
        raise item_removed(item)
    if example_id in desk.withheld.example_ids():
        raise item_withheld(item, draft)
    return OpenItem(item, draft, desk.stored_texts.find_correction(draft))


def claim_for_viewer(desk: Desk, context: RequestContext, opened: OpenItem) -> ReviewItem:
    """Claim the item for the minutes that the recipe states. Raises AssignedError if another reviewer has claimed it."""
    minutes = desk.read_review_settings().assignment_minutes
    return claim_item(desk.ledger, opened.item.example_id, context.user.name, now=context.now, minutes=minutes)


def _renew_claim(desk: Desk, context: RequestContext, opened: OpenItem) -> None:
    try:
        claim_for_viewer(desk, context, opened)
    except AssignedError as error:
        raise PageError(409, "Another reviewer has this item", str(error)) from None


def render_item(
    desk: Desk, context: RequestContext, opened: OpenItem, *, typed: str | None, refusal: str = "", status: int = 200
) -> Response:
    """The item, claimed for this reviewer; read-only if they may not decide on it. Raises AssignedError."""
    own, draft, rules = _list_own_decisions(desk, context, opened), opened.draft, desk.read_review_settings()
    closed = _find_closed_reason(context, opened, own)
    item = opened.item if closed else claim_for_viewer(desk, context, opened)
    shown = find_output_to_review(desk.ledger, draft, rules)
    scanned = find_scanned_text(desk, item, draft, shown, context.user.name)
    shown = shown if scanned is None else scanned.parts["output"]
    kept = None if closed or typed is not None else _find_kept_edit(desk, context, opened, shown)
    output = kept.text if kept else shown if typed is None else typed
    domain = desk.read_recipe().domain
    flags, spans = flag_text(draft, shown, domain)
    signature = _make_signature_context(draft, output, context, domain)
    edited_flags, diff = _diff_signed_text(draft, output, signature["signing"], domain)
    return render_page(
        desk,
        context,
        "item.html",
        status=status,
        item=item,
        draft=draft,
        output=output,
        flags=flags,
        pieces=_mark_output(draft, shown, spans, mark_found_words(scanned, "output")),
        instruction=mark_spans(draft.instruction, mark_found_words(scanned, "instruction")),
        scanned=scanned,
        edited_flags=edited_flags,
        diff=diff,
        is_second_output=shown != draft.output,
        query=read_query(context),
        closed=closed,
        own=own,
        refusal=refusal,
        reasons=REASON_CODES,
        meanings=MEANINGS,
        kinds=load_pack(desk.read_recipe().domain).pack.kinds,
        states=STATE_LABELS,
        is_blind=is_blind_review(rules),
        identical=0 if closed else count_identical_cases(desk, context, item),
        shown=shown,
        typed=typed or "",
        kept_at=_describe_time(kept.saved_at, context.now) if kept else "",
        guidelines=_render_guidelines(rules, draft.task),
        progress=None if closed else _measure_progress(desk, context, item),
        **_make_source_context(desk, opened, shown, scanned),
        **signature,
    )


def _diff_signed_text(
    draft: DraftedExample, output: str, signing: SignaturePreview | None, domain: str
) -> tuple[list[str], list[DiffPiece]]:
    """Like `diff_against_draft`, without a second check of the text that the dialog shows: a check of a long text is slow."""
    if signing is None:
        return diff_against_draft(draft, output, domain)
    return list(signing.flags), mark_diff_spans(diff_words(draft.output, signing.text), signing.spans)


def _mark_output(draft: DraftedExample, shown: str, spans: list[TextSpan], found: list[TextSpan]) -> list[Piece]:
    """The output with its flagged places or, if a model wrote it, with numbered sentences: its flags mostly concern all of it.

    `found`: the words that the scan of the final texts takes for identifiers.
    """
    if not draft.sources or shown != draft.output:
        return mark_spans(shown, [*spans, *found])
    sentences = (TextSpan(one.start, one.end, SOURCED, number) for number, one in enumerate(draft.sources, start=1))
    return mark_spans(shown, [*(span for span in spans if span.number), *sentences, *found])


def _source_spans(draft: DraftedExample) -> list[TextSpan]:
    """The source of each sentence in the input, with the number of the sentence."""
    return [
        TextSpan(one.source_start, one.source_end, SOURCED, number)
        for number, one in enumerate(draft.sources or (), start=1)
        if one.source_start is not None and one.source_end is not None
    ]


def _make_source_context(desk: Desk, opened: OpenItem, shown: str, scanned: ScannedText | None) -> dict[str, Any]:
    """What is next to the output: the report, or the question and the wrong answer of a correction.

    The sources belong to the sentences of the draft, so a repaired output has none.
    """
    draft, report = opened.draft, desk.stored_texts.find_report(opened.draft.report_id)
    recipe = desk.read_recipe()
    sources = _source_spans(draft) if shown == draft.output else []
    found = mark_found_words(scanned, "input")
    view = compare_input(draft.input, report, list_headings(recipe.tasks), recipe.domain, sources, found)
    pieces = (
        None if report is None else mark_placeholders(report.tagged_text, recipe.domain, view.outside, view.sources)
    )
    return {
        "input": view,
        "source_count": len(sources),
        "report": pieces,
        "report_number": None if report is None else report.number,
        "families": list_families(pieces or ()),
        "is_correction": draft.source == CORRECTION,
        "question": strip_passages(draft.instruction, draft.input),
        "passages": opened.passages,
        "corrected": find_corrected_answer(desk, draft, opened.correction),
        "dropped": find_dropped_duplicates(desk, draft),
    }


def _measure_progress(desk: Desk, context: RequestContext, item: ReviewItem) -> Progress | None:
    """None for an item that the reviewer's filter does not lead to."""
    query = read_query(context)
    if item.state not in REVIEW_STATES and item.state != query.state:
        return None
    remaining = count_free_items(
        desk.ledger,
        query.to_filter(context.user.name, context.now),
        viewer=context.user.name,
        now=context.now,
        excluded=desk.withheld.example_ids(),
    )
    times = list_decision_times(desk.ledger, context.user.name, MAX_DECISIONS)
    return measure_progress(times, remaining, context.now)


def _render_guidelines(rules: ReviewSettings, task: str) -> str:
    """As HTML; empty if the recipe has none for the task."""
    return _render_markdown(rules.guidelines.get(task, ""))


@lru_cache(maxsize=64)
def _render_markdown(text: str) -> str:
    """HTML in the text is escaped; headings and images stay as they are written."""
    return MarkdownIt("commonmark", {"html": False}).disable(["heading", "lheading", "image"]).render(text)


def _describe_time(at: datetime, now: datetime) -> str:
    return f"{at:%H:%M}" if at.date() == now.date() else f"{at:%Y-%m-%d %H:%M}"


def _list_own_decisions(desk: Desk, context: RequestContext, opened: OpenItem) -> list[DecisionEntry]:
    """The user's decisions on the item that are not revoked."""
    lines = list_history(desk.ledger, opened.item.example_id, viewer=context.user.name, can_see_all=False)
    return [line for line in lines if is_same_person(line.reviewer, context.user.name) and line.revoked_at is None]


def _find_closed_reason(context: RequestContext, opened: OpenItem, own: list[DecisionEntry]) -> str:
    """Why the item is read-only for this user; empty if they may decide."""
    if opened.author is not None and is_same_person(opened.author, context.user.name):
        return "You wrote the correction behind this draft. Another reviewer must decide."
    if opened.item.state == "disagreement":
        return "The reviewers disagree. An approver who is not one of them adjudicates it."
    if opened.item.state not in DECIDABLE_STATES:
        return f"State: {STATE_LABELS[opened.item.state]}. The item opens again if its decision is revoked."
    if own and opened.item.state == "second_review":
        return "You gave the first review. Another reviewer must give the second one."
    return ""
