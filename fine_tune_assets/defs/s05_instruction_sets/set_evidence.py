"""Stage 5: inputs for building an instruction set: the leak search, earlier test splits, replayable examples, and the scan of
the final texts for identifiers. Connects other packages with `instructions/`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.approval.drafts import CORRECTION
from fine_tune_assets.approval.lapsed_approvals import find_replay_exclusion
from fine_tune_assets.approval.task_kinds import BY_MODEL
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.core.processes.worker_requests import ScanFinalTextsRequest
from fine_tune_assets.dedup.cross_group_pairs import pair_finder
from fine_tune_assets.dedup.sketches import SHINGLE_WORDS
from fine_tune_assets.defs.platform.cross_group_search import count_threads, whole_text_finder
from fine_tune_assets.defs.platform.resources import Installation, Worker
from fine_tune_assets.defs.s02_scrubbed_reports.missed_identifiers import flag_marked_texts
from fine_tune_assets.defs.s02_scrubbed_reports.scrubbed_reports import scrub_request
from fine_tune_assets.defs.s04_approved_examples.current_decisions import current_decisions
from fine_tune_assets.defs.s04_approved_examples.incoming_corrections import require_current_scrubber
from fine_tune_assets.defs.s10_corrections.quarantine import ACCESS_TABLE, restricted_reports
from fine_tune_assets.embeddings.encoder import encode_passages, encoder_version
from fine_tune_assets.embeddings.vector_cache import CachedEncoder
from fine_tune_assets.instructions.assembly import BuildContext, DroppedExample, InstructionSet
from fine_tune_assets.instructions.earlier_sets import filter_replayable, read_earlier_tests, read_replayable
from fine_tune_assets.instructions.leakage import EvaluationText, LeakSearch, read_evaluation_texts
from fine_tune_assets.instructions.provenance import correction_facts, report_facts
from fine_tune_assets.instructions.set_examples import SetExample
from fine_tune_assets.instructions.splits import SplitRule, find_late_subjects, require_comparable_test_from
from fine_tune_assets.judging.judges.labelled_sets import read_labelled_sets
from fine_tune_assets.phi.measurement.final_text_scan import FinalText
from fine_tune_assets.phi.scrubber import scrubber_version
from fine_tune_assets.recipes.domain_pack_schema import ALL_TEXTS, DomainPack
from fine_tune_assets.recipes.domain_packs import load_pack
from fine_tune_assets.recipes.schema import PREVIOUS_SET
from fine_tune_assets.tables.instruction_rows import FinalTextFinding
from fine_tune_assets.tables.record_classes import Record, iter_records, table_from_records

VECTORS = "leaks/vectors.npz"
"""Relative to the cache folder. An erasure removes the whole file."""
CONTEXT_TABLES = ("scrubbed_reports", ACCESS_TABLE, "incoming_corrections")
"""Tables that this module reads while a set is built. Their changes reach a set through the examples."""


@contextmanager
def leak_search(installation: Installation) -> Iterator[LeakSearch]:
    """A leak search over whole texts, including boilerplate. Removes vectors that it did not use from the cache at the end."""
    settings, threads, version = installation.recipe.dedup, count_threads(installation), encoder_version()
    encode = CachedEncoder(partial(encode_passages, threads=threads), version, installation.layout.cache / VECTORS)
    try:
        yield LeakSearch(
            find_pairs=pair_finder(settings, encode, version, ignore_boilerplate=False, threads=threads),
            find_lexical_pairs=whole_text_finder(installation),
            kinds=("exact", "near", "semantic"),
            description=f"the same words in whole texts; near from a Jaccard similarity of {settings.near_threshold} over "
            f"shingles of {SHINGLE_WORDS} words; meaning from a cosine of {settings.semantic_threshold} (all-MiniLM-L6-v2, "
            f"{short(version)})",
            evaluation=read_evaluation_texts(installation.layout.evaluation),
            judged=_read_judged_texts(installation.layout.evaluation / "judge"),
        )
    finally:
        encode.remove_unused()


def _read_judged_texts(folder: Path) -> tuple[EvaluationText, ...]:
    """Questions and answers that people rated. Raises GateClosedError."""
    found: dict[str, EvaluationText] = {}
    for labelled in read_labelled_sets(folder):
        for number, row in enumerate(labelled.rows, start=1):
            # Without the instruction, which all rated summaries share.
            question, output = row.answered.input, row.answered.output
            found.setdefault(f"{question}\n{output}", EvaluationText(f"{labelled.name} {number}", question, output))
    return tuple(found.values())


def build_context(
    installation: Installation, approved: pa.Table, reports: pa.Table, search: LeakSearch
) -> BuildContext:
    """Everything else that a set is built from. `reports`: the table `unique_reports`."""
    recipe, root = installation.recipe, installation.layout.instruction_sets
    require_comparable_test_from(recipe.split, recipe.scrub)
    earlier = read_earlier_tests(root, recipe.split)
    ids = approved.column("report_id")
    corrections = approved.filter(pc.equal(approved.column("source"), CORRECTION)).column("report_id").to_pylist()
    if corrections:
        require_current_scrubber()
    facts = report_facts(reports, ids) | correction_facts(iter(corrections), scrubber_version(recipe.scrubber))
    replayable, not_replayable = (
        _select_replayable(installation, approved) if recipe.mix.get(PREVIOUS_SET) else ([], [])
    )
    return BuildContext(
        split_rule=SplitRule(recipe.split, find_late_subjects(reports, recipe.split.test_from), earlier.same_rule),
        leak_search=search,
        earlier_tests=earlier,
        reports=facts,
        replayable=replayable,
        not_replayable=not_replayable,
    )


def _select_replayable(installation: Installation, approved: pa.Table) -> tuple[list[SetExample], list[DroppedExample]]:
    """Examples of earlier sets that are not in `approved` and may be trained on again, and those that may not, with reasons.

    An example is excluded if its subject is erased, a reviewer marked an identifier in it, it rests on a restricted document, or
    its approval has lapsed.
    """
    recipe, present = installation.recipe, set(approved.column("fingerprint").to_pylist())
    found = read_replayable(
        installation.layout.instruction_sets, recipe.name, recipe.split.salt, scrubber_version(recipe.scrubber)
    )
    examples = [example for example in found if example.fingerprint not in present]
    now, erased = current_decisions(installation), installation.erased_subjects()
    missed, restricted = _with_missed_terms(installation, examples), _restricted(installation)

    def find_reason(example: SetExample) -> str | None:
        if example.subject_key in erased:
            return "its subject was erased"
        if example.fingerprint in missed:
            return "it contains an identifier that a reviewer marked"
        if example.report_id in restricted:
            return "it rests on a restricted document"
        return find_replay_exclusion(example, now)

    return filter_replayable(examples, find_reason)


def _restricted(installation: Installation) -> frozenset[str]:
    """Restricted reports among all corrections, since an earlier set may contain some that are no longer drafts."""
    return restricted_reports(installation, installation.stored("scrubbed_corrections").table())


def _with_missed_terms(installation: Installation, examples: Sequence[SetExample]) -> set[str]:
    """Fingerprints of the examples that contain a term marked for their subject."""

    def column(name: str) -> pa.ChunkedArray:
        return pa.chunked_array([pa.array([getattr(example, name) for example in examples], pa.string())])

    texts = [column(name) for name in ("instruction", "input", "output")]
    flags = flag_marked_texts(installation, column("subject_key"), texts)
    return {example.fingerprint for example, is_marked in zip(examples, flags.to_pylist(), strict=True) if is_marked}


class _ExampleTexts(Record):
    example_id: str
    instruction: str
    input: str
    output: str


class _Draft(_ExampleTexts):
    drafted_by: str | None


class IdentifierScan(NamedTuple):
    evidence: dict[str, Any]
    """Example id → kind → count, the number of scanned texts, and the version of the scrubber."""
    findings: list[FinalTextFinding]


def find_identifiers(
    context: dg.AssetExecutionContext,
    installation: Installation,
    worker: Worker,
    built: InstructionSet,
    drafts: pa.Table,
) -> IdentifierScan:
    """Scan the examples, except general data."""
    trusted = trusted_texts(drafts, load_pack(installation.recipe.domain).pack)
    is_own = pc.is_valid(built.table["subject_key"])
    examples = list(iter_records(_ExampleTexts, built.examples.filter(is_own)))
    rows = [
        FinalText(example_id=one.example_id, text=_join_texts(one), trusted_text=trusted.get(one.example_id))
        for one in examples
    ]
    with installation.scratch(context, "final_texts") as (path,):
        write_table(path, table_from_records(FinalText, rows))
        request: ScanFinalTextsRequest = {
            "action": "scan_final_texts",
            "texts": str(path),
            **scrub_request(installation, None),
        }
        found = worker.run(context, "phi", request)
    places = found["findings"]
    counts = {example_id: {kind: len(known) for kind, known in one.items()} for example_id, one in places.items()}
    fingerprints = built.table["fingerprint"].filter(is_own).to_pylist()
    findings = list(list_findings(zip(examples, fingerprints, strict=True), places))
    return IdentifierScan({**found, "findings": counts}, findings)


def list_findings(
    examples: Iterable[tuple[_ExampleTexts, str]], places: Mapping[str, Mapping[str, Sequence[tuple[int, int] | None]]]
) -> Iterator[FinalTextFinding]:
    """A row for each finding, or two for a place across two parts.

    `examples` with their fingerprints; `places`: example id → kind → places in the text that was scanned.
    """
    for example, fingerprint in examples:
        common = {"example_id": example.example_id, "fingerprint": fingerprint}
        for kind, found in places.get(example.example_id, {}).items():
            for place in found:
                yield from (
                    FinalTextFinding(**common, kind=kind, part=part, start=start, end=end)
                    for part, start, end in _place_in_parts(example, place)
                )


def _place_in_parts(
    example: _ExampleTexts, place: tuple[int, int] | None
) -> Iterator[tuple[str | None, int | None, int | None]]:
    """The part of the example and the place in it; a single row without both if the place is unknown."""
    if place is None:
        yield None, None, None
        return
    for part, at, text in _split_parts(example):
        start, end = max(place[0] - at, 0), min(place[1] - at, len(text))
        if start < end:
            yield part, start, end


def trusted_texts(drafts: pa.Table, pack: DomainPack) -> dict[str, str]:
    """Example id → text that the scrubber and its second pass have checked, whose values need no second search.

    These are corrections, whose surrogates are on no list, and the other drafts if the pack says so. What a model wrote (its
    question or its output) is never among them.
    """
    if pack.final_texts == ALL_TEXTS:
        drafts = drafts.filter(pc.equal(drafts.column("source"), CORRECTION))
    return {draft.example_id: _join_texts(_without_model_text(draft)) for draft in iter_records(_Draft, drafts)}


def _without_model_text(draft: _Draft) -> _Draft:
    return replace(draft, instruction="", output="") if (draft.drafted_by or "").startswith(BY_MODEL) else draft


_PARTS = ("instruction", "input", "output")
_SEPARATOR = "\n\n"


def _join_texts(example: _ExampleTexts) -> str:
    return _SEPARATOR.join(text for _, _, text in _split_parts(example))


def _split_parts(example: _ExampleTexts) -> Iterator[tuple[str, int, str]]:
    """Name, start in the joined text, and text of each part that is not empty."""
    start = 0
    for part in _PARTS:
        if text := getattr(example, part):
            yield part, start, text
            start += len(text) + len(_SEPARATOR)
