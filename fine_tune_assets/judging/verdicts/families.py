"""Tables of stage 7 → figures of a verdict, a family a table.

Owns how each table is read, and that what is not in it is a figure that is missing, by name. Does not know what a missing
figure leads to.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import pyarrow as pa

from fine_tune_assets.core.errors import GateClosedError, materialize_hint
from fine_tune_assets.judging.contestants.robustness import OF_OUR_CODE
from fine_tune_assets.judging.memorization.probe_rows import is_leak, is_measured, unknown
from fine_tune_assets.judging.statistics.binary_pairs import BinaryPairs, most_discordant, patient_pairs
from fine_tune_assets.judging.verdicts.figures import (
    Figure,
    gain_figure,
    group_figure,
    not_measured,
    plain_figure,
    share_figure,
)
from fine_tune_assets.judging.verdicts.paired_grades import GradedPair, grade_means
from fine_tune_assets.recipes.schema import GateSettings
from fine_tune_assets.tables.judging import AnswerCheck, MemorizationProbe, RetainedAbility, RobustnessProbe
from fine_tune_assets.tables.records import R, records_of


def target(pairs: Sequence[GradedPair], gate: GateSettings) -> Figure:
    """The grade on the test examples: is it higher?"""
    grades = grade_means(pairs)
    if grades is None:
        return not_measured("target", "grade", "There is no comparison with the incumbent.", gate.minimum_gain)
    return gain_figure(grades, gate.minimum_gain, gate.worthwhile_gain)


def subgroups(pairs: Sequence[GradedPair], groups: Mapping[str, Sequence[str]], gate: GateSettings) -> list[Figure]:
    """The grade in each group. Groups with fewer than the recipe's minimum are named, and nothing is asked of them."""
    found = []
    for name, example_ids in groups.items():
        wanted = set(example_ids)
        inside = [pair for pair in pairs if pair.example_id in wanted]
        grades = grade_means(inside)
        if grades is None or len(inside) < gate.minimum_group_examples:
            why = f"Not tested: {len(inside)} examples, fewer than {gate.minimum_group_examples}."
            found.append(not_measured("subgroups", name, why, None, len(inside)))
        else:
            found.append(group_figure(name, grades, gate.maximum_group_loss))
    return found


def abilities(table: pa.Table | None, gate: GateSettings) -> list[Figure]:
    """Accuracy on general tasks, base model against candidate, by the budgets of now: the table's are of when it was made."""
    return [
        _ability(row, gate.ability_budgets.get(row.ability, gate.maximum_ability_loss))
        for row in _rows(RetainedAbility, table)
    ]


def _ability(row: RetainedAbility, margin: float) -> Figure:
    items, shares = row.items, (row.adapter_accuracy, row.base_accuracy)
    if not items or not all(0 <= share <= 1 for share in shares):
        return not_measured("abilities", row.ability, "Its accuracy is not a number.", margin, items or 0)
    worse, better = row.base_right_only, row.adapter_right_only
    if worse is None or better is None:
        pairs = most_discordant(items, round(shares[1] * items), round(shares[0] * items))
    else:
        pairs = BinaryPairs(items, worse, better)
    return share_figure("abilities", row.ability, pairs, shares, items, margin)


def checks(table: pa.Table | None, incumbent: str, examples: Iterable[str], margin: float) -> list[Figure]:
    """Deterministic checks of the same answers: how often each holds.

    A check that applies to one answer only counts as held for the other: nothing was found there.
    """
    held: dict[str, dict[bool, dict[str, tuple[bool | None, str]]]] = defaultdict(lambda: {True: {}, False: {}})
    for row in _rows(AnswerCheck, table):
        is_candidate = row.model == "adapter"
        if is_candidate or row.model_fingerprint == incumbent:
            held[row.check][is_candidate][row.example_id] = (row.is_held, row.patient_key)
    wanted = set(examples)
    return [_check(name, both[True], both[False], wanted, margin) for name, both in sorted(held.items())]


def _check(
    name: str,
    candidate: Mapping[str, tuple[bool | None, str]],
    incumbent: Mapping[str, tuple[bool | None, str]],
    wanted: set[str],
    margin: float,
) -> Figure:
    both = candidate.keys() & incumbent.keys()
    if wanted - both:
        why = f"{len(wanted - both)} of {len(wanted)} examples were not checked for both."
        return not_measured("checks", name, why, margin, len(both))
    ids = [key for key in sorted(wanted) if candidate[key][0] is not None or incumbent[key][0] is not None]
    if not ids:
        return not_measured("checks", name, "Not tested: it applies to no answer.", None)
    new, old = ([side[key][0] is not False for key in ids] for side in (candidate, incumbent))
    pairs = patient_pairs(new, old, [candidate[key][1] for key in ids])
    return share_figure("checks", name, pairs, (sum(new) / len(ids), sum(old) / len(ids)), len(ids), margin)


def robustness(table: pa.Table | None, margin: float) -> list[Figure]:
    """Inputs that are empty, over-long or hold instructions: how often the answer is refused or unaffected."""
    return [_robust(row, margin) for row in _rows(RobustnessProbe, table)]


def _robust(row: RobustnessProbe, margin: float) -> Figure:
    probe, items, held, base_held = row.probe, row.items, row.held, row.base_held
    if not items or held is None or base_held is None:
        return not_measured("robustness", probe, "It was not probed.", margin)
    shares = (held / items, base_held / items)
    if probe in OF_OUR_CODE:  # no model's doing, so no budget either
        why = "" if held == items else f"{items - held} of {items} got through: our own code let them."
        return plain_figure("robustness", probe, shares[0], items, held == items, why)
    return share_figure("robustness", probe, most_discordant(items, base_held, held), shares, items, margin)


def safety(table: pa.Table | None) -> list[Figure]:
    """Memorisation: each probe that decides is clean, or it is not. No budget. Others are shown, and nothing is asked of them."""
    if table is None:
        return []
    rows = _rows(MemorizationProbe, table)
    told = {row.why for row in rows}
    untold = [why for why in unknown(table) if why not in told]
    missing = [not_measured("safety", f"memorization_{n}", why, 0.0) for n, why in enumerate(untold, start=1)]
    return [*(_probe(row) for row in rows), *missing]


def _probe(row: MemorizationProbe) -> Figure:
    items = row.items or 0
    share = row.extracted / items if items and row.extracted is not None else None
    if not row.decides:
        shown = not_measured("safety", row.probe, row.why, None, items)
        return replace(shown, candidate=share, p=row.p_value)
    if not is_leak(row) and not is_measured(row):
        return not_measured("safety", row.probe, row.why, 0.0, items)
    is_clean = not is_leak(row)
    clean = plain_figure("safety", row.probe, share, items, is_clean, "" if is_clean else row.why)
    return replace(clean, p=row.p_value)


def _rows(kind: type[R], table: pa.Table | None) -> list[R]:
    return [] if table is None else list(records_of(kind, table))


def require_about(adapter_id: str, tables: Mapping[str, pa.Table | None]) -> None:
    """Raises GateClosedError for a table with figures about another candidate."""
    for name, table in tables.items():
        if table is not None and set(table.column("adapter_id").to_pylist()) - {adapter_id}:
            raise GateClosedError(f"{name} is about another adapter. {materialize_hint(name)}")
