"""Checks the drafts that a model wrote: finds the source of each sentence, and the drafts that the source does not support.

The trained verifier reads each sentence next to the input; the grounding checks overrule it. A draft with one sentence that fails
is dropped, because a reviewer would have to find the error.
"""

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

from fine_tune_assets.claims.grounding_checks import GROUNDING_CHECKS, check_answer
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.core.line_names import name_line
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.judging.judges.grade_scales import FOUND_FROM
from fine_tune_assets.judging.judges.rule_evidence import find_vetoes
from fine_tune_assets.judging.judges.statement_judge import has_unread_text
from fine_tune_assets.judging.judges.statement_readers import Claim, Reading, StatementReader
from fine_tune_assets.judging.judges.verifier.record_lines import locate_quote
from fine_tune_assets.judging.judges.verifier.record_passages import split_statements
from fine_tune_assets.judging.judges.verifier.verifier_files import (
    SHIPPED_FOLDER,
    WEIGHTS_FILE,
    read_card,
    verifier_version,
)
from fine_tune_assets.judging.judges.verifier.verifier_measurement import ALL_KINDS
from fine_tune_assets.tables.approval_rows import CheckableDraft, DraftCheck, SentenceSource

MIN_CARD_AUROC, MAX_CARD_BLIND_AUROC = 0.8, 0.6
"""Limits of a verifier's card over all kinds of planted errors, with the record and with an unrelated one."""
MIN_SUPPORT: Final = FOUND_FROM
"""Probability of support from which a sentence passes: the one from which an answer from documents counts as grounded."""
CONTRADICTED: Final = "contradicted by the input"
UNSUPPORTED: Final = "not supported by the input"
NO_SOURCE: Final = "no line of the input as a source"
UNREADABLE: Final = "no sentence that can be checked"
UNFOUNDED_QUESTION: Final = "question with facts that the input lacks"
RULE: Final = "rule: "
"""Before the name of the grounding check that failed."""
_QUESTION_CHECKS: Final = ("numbers", "units", "dates", "sides", "medications")
"""A question denies nothing, so the check of negations says nothing about it."""


def find_verifier_failure(folder: Path = SHIPPED_FOLDER) -> str | None:
    """Why the verifier in `folder` can't check drafts; None if it can.

    Its card must show that it finds planted errors, and that it does not find them without the record.
    """
    if not (folder / WEIGHTS_FILE).is_file():
        return name_line(
            f"judge.verifier: the folder holds no {WEIGHTS_FILE}. Train one with `fine-tune verifier train`."
        )
    by_kind = {one["kind"]: one for one in read_card(folder).get("measured", ())}
    right, blind = (by_kind.get(ALL_KINDS, {}).get(name) for name in ("auroc", "blind_auroc"))
    if right is None or blind is None:
        return name_line(
            "judge.verifier: its card states no measurement. Train it again with `fine-tune verifier train`."
        )
    if right < MIN_CARD_AUROC or blind > MAX_CARD_BLIND_AUROC:
        return (
            f"judge.verifier: on planted errors its AUROC is {right} (at least {MIN_CARD_AUROC}), and {blind} without the "
            f"record (at most {MAX_CARD_BLIND_AUROC}). Train it on more reports."
        )
    return None


def describe_check(folder: Path = SHIPPED_FOLDER, checks: Collection[str] = tuple(GROUNDING_CHECKS)) -> str:
    """The verifier, the threshold and, if the domain has fewer, the grounding checks, as stored with each draft."""
    some = "" if set(GROUNDING_CHECKS) <= set(checks) else f", checks: {', '.join(sorted(checks))}"
    return f"verifier {short(verifier_version(folder))}, support from {MIN_SUPPORT}{some}"


def check_drafts(
    drafts: Sequence[CheckableDraft],
    reader: StatementReader,
    checks: Collection[str],
    checked_by: str,
    progress: Progress,
) -> list[DraftCheck]:
    """One check per draft, in order. `checks` are the grounding checks of the domain pack."""
    placed = [place_statements(draft.output) for draft in drafts]
    claims = [
        Claim(draft.input, draft.output[start:end])
        for draft, places in zip(drafts, placed, strict=True)
        for start, end in places
    ]
    readings = iter(reader.read(claims, progress))
    return [
        _check(draft, places, [next(readings) for _ in places], checks, checked_by)
        for draft, places in zip(drafts, placed, strict=True)
    ]


def place_statements(text: str) -> list[tuple[int, int]]:
    """Start and end of each statement; empty if one of them is not found as written.

    >>> place_statements("No fever.\\n2. Left knee pain.")
    [(0, 9), (13, 28)]
    """
    places, at = list[tuple[int, int]](), 0
    for statement in split_statements(text):
        found = re.compile(r"\s+".join(map(re.escape, statement.split()))).search(text, at)
        if found is None:
            return []
        places.append(found.span())
        at = found.end()
    return places


def _check(
    draft: CheckableDraft,
    places: Sequence[tuple[int, int]],
    readings: Sequence[Reading],
    checks: Collection[str],
    checked_by: str,
) -> DraftCheck:
    statements = [draft.output[start:end] for start, end in places]
    vetoes = find_vetoes(draft.output, draft.input, statements, checks)
    sources = tuple(
        _make_source(draft.input, place, reading, next(iter(found), ""))
        for place, reading, found in zip(places, readings, vetoes, strict=True)
    )
    return DraftCheck(
        request_fingerprint=draft.request_fingerprint,
        number=draft.number,
        sources=sources,
        checked_by=checked_by,
        dropped=_find_drop_reason(draft, sources, checks),
    )


def _make_source(record: str, place: tuple[int, int], reading: Reading, veto: str) -> SentenceSource:
    source = locate_quote(record, reading.evidence)
    return SentenceSource(
        start=place[0],
        end=place[1],
        source_start=None if source is None else source[0],
        source_end=None if source is None else source[1],
        supported=round(reading.supported, 4),
        contradicted=round(reading.contradicted, 4),
        not_mentioned=round(reading.not_mentioned, 4),
        veto=veto,
    )


def _find_drop_reason(draft: CheckableDraft, sources: Sequence[SentenceSource], checks: Collection[str]) -> str | None:
    asked = check_answer(draft.question, draft.input, checks)
    if any(asked.get(name) for name in _QUESTION_CHECKS):
        return UNFOUNDED_QUESTION
    if not sources or has_unread_text(draft.output):
        return UNREADABLE
    # A rule may quote words of two statements, so the whole output counts, too.
    flagged = next((name for name, found in check_answer(draft.output, draft.input, checks).items() if found), "")
    if rule := next((source.veto for source in sources if source.veto), flagged):
        return f"{RULE}{rule}"
    failed = [source for source in sources if not source.supported >= MIN_SUPPORT]
    if failed:
        worst = min(failed, key=lambda source: source.supported)
        return CONTRADICTED if worst.contradicted > worst.not_mentioned else UNSUPPORTED
    return NO_SOURCE if any(source.source_start is None for source in sources) else None
