"""Stage 5, what a set is built beside: how leaks are looked for, what earlier sets tested, what may be replayed, and the look for
identifiers in the final texts.

Belongs here: handing the parts of other packages to `instructions/`. Must stay out: what is a leak or an identifier.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from fine_tune_assets.approval.drafts import CORRECTION
from fine_tune_assets.approval.still_approved import why_not_taught_again
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.dedup.cross_group_pairs import pair_finder
from fine_tune_assets.dedup.sketches import SHINGLE_WORDS
from fine_tune_assets.defs.platform.pair_finding import threads_of, whole_text_finder
from fine_tune_assets.defs.platform.resources import Installation, Worker
from fine_tune_assets.defs.s02_scrubbed_reports.missed_identifiers import READ_FOR_TERMS, terms_of
from fine_tune_assets.defs.s02_scrubbed_reports.scrubbed_reports import scrub_request
from fine_tune_assets.defs.s04_approved_examples.standing_decisions import decisions_of_now
from fine_tune_assets.defs.s10_corrections.quarantine import READ_FOR_BARRED, barred_reports
from fine_tune_assets.embeddings.encoder import encode_passages, encoder_version
from fine_tune_assets.embeddings.vector_cache import Remembered
from fine_tune_assets.instructions.assembly import Dropped, InstructionSet, Surroundings
from fine_tune_assets.instructions.earlier_sets import earlier_tests, read_replayable, sort_out
from fine_tune_assets.instructions.leaks import LeakSearch, read_evaluation_texts
from fine_tune_assets.instructions.provenance import correction_facts, report_facts
from fine_tune_assets.instructions.set_examples import SetExample
from fine_tune_assets.instructions.splits import SplitRule, late_patients, require_fitting_day
from fine_tune_assets.phi.measurement.final_texts import FINAL_TEXTS
from fine_tune_assets.phi.missed_identifiers.terms import holds_missed_terms
from fine_tune_assets.phi.scrubbing import scrubber_version
from fine_tune_assets.tables.records import Record, records_of, table_of

VECTORS = "leaks/vectors.npz"
"""Below the cache. An erasure removes it as a whole."""
READ_BESIDE = (*READ_FOR_TERMS, READ_FOR_BARRED, "identifier_values", "scrubbed_corrections")
"""The tables that this module reads while a set is built. What changes in them reaches a set with the examples."""


@contextmanager
def leak_search(installation: Installation) -> Iterator[LeakSearch]:
    """In whole texts, boilerplate included. At the end, vectors that this search did not ask for are removed."""
    settings, threads, version = installation.recipe.dedup, threads_of(installation), encoder_version()
    encode = Remembered(partial(encode_passages, threads=threads), version, installation.layout.cache / VECTORS)
    try:
        yield LeakSearch(
            find_pairs=pair_finder(settings, encode, version, leave_out_boilerplate=False, threads=threads),
            find_words=whole_text_finder(installation),
            kinds=("exact", "near", "semantic"),
            described=f"the same words in whole texts; near from a Jaccard similarity of {settings.near_threshold} over shingles "
            f"of {SHINGLE_WORDS} words; meaning from a cosine of {settings.semantic_threshold} (all-MiniLM-L6-v2, "
            f"{short(version)})",
            evaluation=read_evaluation_texts(installation.layout.evaluation),
        )
    finally:
        encode.forget_others()


def surroundings(installation: Installation, approved: pa.Table, reports: pa.Table, search: LeakSearch) -> Surroundings:
    """What is known beside the examples. `reports`: `unique_reports`."""
    recipe, root = installation.recipe, installation.layout.instruction_sets
    require_fitting_day(recipe.split, recipe.scrub)
    earlier = earlier_tests(root, recipe.split)
    ids = approved.column("report_id")
    corrections = approved.filter(pc.equal(approved.column("source"), CORRECTION)).column("report_id").to_pylist()
    facts = report_facts(reports, ids) | correction_facts(iter(corrections), scrubber_version(recipe.scrub))
    replayable, not_replayable = _replayable(installation, approved) if recipe.replay_fraction else ([], [])
    return Surroundings(
        rule=SplitRule(recipe.split, late_patients(reports, recipe.split.test_from), earlier.by_this_rule),
        leaks=search,
        earlier=earlier,
        reports=facts,
        replayable=replayable,
        not_replayable=not_replayable,
    )


def _replayable(installation: Installation, approved: pa.Table) -> tuple[list[SetExample], list[Dropped]]:
    """Examples of earlier sets that are not among the approved ones now, and may be taught again: by the decisions of this
    moment, if their patient was not erased, and if they hold nothing that a reviewer marked since."""
    recipe, present = installation.recipe, set(approved.column("fingerprint").to_pylist())
    found = read_replayable(
        installation.layout.instruction_sets, recipe.name, recipe.split.salt, scrubber_version(recipe.scrub)
    )
    examples = [example for example in found if example.fingerprint not in present]
    now, erased = decisions_of_now(installation), installation.erased_patients()
    missed, barred = _with_missed(installation, examples), _barred(installation)

    def why_not(example: SetExample) -> str | None:
        if example.patient_key in erased:
            return "its patient was erased"
        if example.fingerprint in missed:
            return "it holds an identifier that a reviewer marked"
        if example.report_id in barred:
            return "it rests on a document that not everyone may see"
        return why_not_taught_again(example, now)

    return sort_out(examples, why_not)


def _barred(installation: Installation) -> frozenset[str]:
    """Of all corrections: an earlier set may hold what is no draft now."""
    return barred_reports(installation, installation.stored("scrubbed_corrections").table())


def _with_missed(installation: Installation, examples: Sequence[SetExample]) -> set[str]:
    """Fingerprints of the examples that hold what was marked for their patient."""

    def column(name: str) -> pa.ChunkedArray:
        return pa.chunked_array([pa.array([getattr(example, name) for example in examples], pa.string())])

    texts = [column(name) for name in ("instruction", "input", "output")]
    holds = holds_missed_terms(column("patient_key"), texts, terms_of(installation))
    return {example.fingerprint for example, is_held in zip(examples, holds.to_pylist(), strict=True) if is_held}


class _Texts(Record):
    example_id: str
    instruction: str
    input: str
    output: str


def find_identifiers(
    context: dg.AssetExecutionContext,
    installation: Installation,
    worker: Worker,
    built: InstructionSet,
    drafts: pa.Table,
) -> dict[str, Any]:
    """Example id → kind → count in what is about to be stored, general data aside, with the scrubber that looked."""
    corrections = records_of(_Texts, drafts.filter(pc.equal(drafts.column("source"), CORRECTION)))
    passed = {one.example_id: _text_of(one) for one in corrections}
    patients = built.table.column("patient_key").to_pylist()
    rows = [
        {"example_id": one.example_id, "text": _text_of(one), "passed": passed.get(one.example_id)}
        for one, patient in zip(records_of(_Texts, built.examples), patients, strict=True)
        if patient is not None
    ]
    with installation.scratch(context, "final_texts") as (path,):
        write_table(path, table_of(rows, FINAL_TEXTS))
        request = {"action": "scan_final_texts", "texts": str(path), **scrub_request(installation, None)}
        return worker.run(context, "phi", request)


def _text_of(example: _Texts) -> str:
    return "\n\n".join(text for text in (example.instruction, example.input, example.output) if text)
