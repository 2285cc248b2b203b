"""Pages on which a person signs or withdraws their imported decisions: one signature for a file, a decision for each line.

Everyone sees only their own proposals, so that a second review stays blind. Approvers also see who has how many.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from starlette.responses import Response

from fine_tune_assets.approval.proposal_signatures import (
    ABSENT,
    RefusedLine,
    SignedLine,
    Signer,
    find_obstacles,
    fingerprint_to_sign,
    sign_proposals,
)
from fine_tune_assets.approval.sign_off import REASON_CODES, acknowledgement_code, signature_meaning
from fine_tune_assets.core.permissions import Action, may
from fine_tune_assets.desk.desk_context import Desk
from fine_tune_assets.desk.error_pages import not_found
from fine_tune_assets.desk.pages.item_pages import flag_checked
from fine_tune_assets.desk.pages.marked_text import DiffPiece, Piece, diff_words, mark_spans
from fine_tune_assets.desk.rendering import redirect_to, render_page
from fine_tune_assets.desk.request_context import RequestContext, parse_whole_number
from fine_tune_assets.ledger.reviews.proposal_records import (
    Proposal,
    list_files,
    list_waiting,
    withdraw_proposals,
)
from fine_tune_assets.ledger.reviews.review_items import find_items
from fine_tune_assets.recipes.domain_packs import load_pack
from fine_tune_assets.tables.approval_rows import DraftedExample

MAX_LINES = 50
"""Lines on a page, and in one signature: few enough to read each of them."""
_TOO_MANY = f"One signature covers at most {MAX_LINES} decisions. Nothing was recorded."
_NO_LINE = "Nothing was recorded: no decision is ticked."


@dataclass(frozen=True)
class ShownProposal:
    proposal: Proposal
    draft: DraftedExample | None
    """None if it is absent or withheld; then no text is shown."""
    version: int
    obstacle: str
    """Why it can't be signed now; empty if it can."""
    flags: tuple[str, ...]
    pieces: list[Piece]
    """The text that is approved, with its flagged places."""
    changes: list[DiffPiece]
    """The difference between draft and repair; empty without a repair."""

    @property
    def fingerprint(self) -> str:
        return fingerprint_to_sign(self.proposal)

    @property
    def field(self) -> str:
        """What the form sends for this line: the proposal, the item's version and the signed fingerprint."""
        return f"{self.proposal.proposal_id} {self.version} {self.fingerprint}"

    @property
    def acknowledgements(self) -> list[tuple[str, str]]:
        """Each flag with the code that acknowledges it."""
        return [(flag, acknowledgement_code(self.fingerprint, flag)) for flag in self.flags]

    @property
    def meaning(self) -> str:
        proposed = self.proposal.proposed
        return signature_meaning(proposed.decision, proposed.output is not None, proposed.role)


def show_proposals(desk: Desk, context: RequestContext) -> Response:
    sees_others = may(context.user.roles, Action.ADJUDICATE)
    return render_page(
        desk,
        context,
        "proposals.html",
        files=list_files(desk.ledger, context.user.name),
        everyone=list_files(desk.ledger) if sees_others else [],
    )


def show_file(
    desk: Desk, context: RequestContext, refusal: str = "", refused: Sequence[RefusedLine] = (), signed: int = 0
) -> Response:
    """The lines that wait; after a refused form, with the ticks that the person had set."""
    file_id = context.path_param("file_id")
    waiting = list_waiting(desk.ledger, context.user.name, file_id)
    if not waiting and refused:
        return render_page(
            desk, context, "refused_proposals.html", status=409, refused=refused, signed=signed, file_id=file_id
        )
    if not waiting:
        raise not_found()
    lines = _read_lines(desk, context, waiting[:MAX_LINES])
    chosen, seen = _list_ticked(context), set(context.form.get_all("shown"))
    return render_page(
        desk,
        context,
        "proposal_file.html",
        status=400 if refusal else 409 if refused else 200,
        file_id=file_id,
        first=waiting[0],
        lines=lines,
        signable=sum(not line.obstacle for line in lines),
        total=len(waiting),
        report_numbers=desk.stored_texts.find_report_numbers(
            [line.draft.report_id for line in lines if line.draft is not None]
        ),
        reasons=REASON_CODES,
        refusal=refusal,
        refused=refused,
        signed=signed,
        ticked={
            line.proposal.proposal_id
            for line in lines
            if not line.obstacle and (line.proposal.proposal_id in chosen or line.proposal.proposal_id not in seen)
        },
        checked_flags=context.form.get_all("acknowledged"),
    )


def sign_file(desk: Desk, context: RequestContext) -> Response:
    """Record a decision for each ticked line, and report those that were refused."""
    file_id, ticked = context.path_param("file_id"), list(dict.fromkeys(context.form.get_all("line")))
    if not ticked or len(ticked) > MAX_LINES:
        return show_file(desk, context, _TOO_MANY if ticked else _NO_LINE)
    own = {p.proposal_id: p for p in list_waiting(desk.ledger, context.user.name, file_id)}
    drafts = _read_drafts(desk, [own[field.split(" ")[0]] for field in ticked if field.split(" ")[0] in own])
    checks = load_pack(desk.read_recipe().domain).pack.checks
    signed = [_read_signed_line(field, own, drafts, checks) for field in ticked]
    refused = sign_proposals(
        desk.ledger,
        signed,
        Signer(context.user.name, context.user.roles),
        file_id=file_id,
        acknowledged=context.form.get_all("acknowledged"),
        rules=desk.read_review_settings(),
        now=context.now,
    )
    if refused:
        return show_file(desk, context, refused=refused, signed=len(signed) - len(refused))
    return redirect_to("/proposals?notice=proposals_signed")


def withdraw_lines(desk: Desk, context: RequestContext) -> Response:
    """Withdraw the ticked lines. Lines of other people and lines signed meanwhile stay unchanged."""
    file_id, ticked = context.path_param("file_id"), _list_ticked(context)
    if not ticked:
        return show_file(desk, context, _NO_LINE)
    with desk.ledger.begin() as connection:
        own = list_waiting(connection, context.user.name, file_id)
        withdraw_proposals(connection, [p for p in own if p.proposal_id in ticked], context.user.name, context.now)
    return redirect_to("/proposals?notice=proposals_withdrawn")


def _list_ticked(context: RequestContext) -> set[str]:
    """Proposals whose line the person had ticked."""
    return {field.split(" ")[0] for field in context.form.get_all("line")}


def _read_drafts(desk: Desk, found: Sequence[Proposal]) -> dict[str, DraftedExample]:
    """Proposal id → draft, without withheld ones and proposals whose text contains a marked identifier."""
    examples = {proposal.proposed.example_id for proposal in found} - desk.withheld.example_ids()
    drafts = desk.stored_texts.find_drafts(examples, DraftedExample)
    known = [(proposal, draft) for proposal in found if (draft := drafts.get(proposal.proposed.example_id)) is not None]
    hidden = desk.withheld.find_missed_terms([_own_words(*one) for one in known])
    return {proposal.proposal_id: draft for proposal, draft in known if _own_words(proposal, draft) not in hidden}


def _own_words(proposal: Proposal, draft: DraftedExample) -> tuple[str, str]:
    """The subject, and what the person wrote."""
    return draft.subject_key, f"{proposal.proposed.output or ''}\n{proposal.reason}"


def _read_lines(desk: Desk, context: RequestContext, found: Sequence[Proposal]) -> list[ShownProposal]:
    drafts, rules = _read_drafts(desk, found), desk.read_review_settings()
    signer, checks = Signer(context.user.name, context.user.roles), load_pack(desk.read_recipe().domain).pack.checks
    pairs = [(proposal, drafts.get(proposal.proposal_id)) for proposal in found]
    with desk.ledger.read() as connection:
        items = find_items(connection, {proposal.proposed.example_id for proposal in found})
        obstacles = find_obstacles(connection, pairs, signer, rules, context.now)
    lines = []
    for (proposal, draft), obstacle in zip(pairs, obstacles, strict=True):
        item = items.get(proposal.proposed.example_id)
        lines.append(_make_line(proposal, draft, -1 if item is None else item.version, obstacle, checks))
    return lines


def _make_line(
    proposal: Proposal, draft: DraftedExample | None, version: int, obstacle: str, checks: Collection[str]
) -> ShownProposal:
    """Without texts if the draft is absent; the text of another draft would not be what was decided."""
    proposed = proposal.proposed
    if draft is None or draft.fingerprint != proposed.fingerprint:
        return ShownProposal(proposal, None, version, obstacle or ABSENT, (), [], [])
    text = draft.output if proposed.output is None else proposed.output
    flags, spans = flag_checked(draft, text, checks) if proposed.decision == "approve" else ([], [])
    changes = [] if proposed.output is None else diff_words(draft.output, proposed.output)
    return ShownProposal(proposal, draft, version, obstacle, tuple(flags), mark_spans(text, spans), changes)


def _read_signed_line(
    field: str, own: dict[str, Proposal], drafts: dict[str, DraftedExample], checks: Collection[str]
) -> SignedLine:
    """What the page showed for a line. A missing part makes it a changed one."""
    proposal_id, version, fingerprint = [*field.split(" "), "", ""][:3]
    proposal, draft, number = own.get(proposal_id), drafts.get(proposal_id), parse_whole_number(version)
    flags: tuple[str, ...] = ()
    if proposal is not None and draft is not None and proposal.proposed.decision == "approve":
        text = draft.output if proposal.proposed.output is None else proposal.proposed.output
        flags = tuple(flag_checked(draft, text, checks)[0])
    return SignedLine(proposal_id, draft, -1 if number is None else number, fingerprint, flags)
