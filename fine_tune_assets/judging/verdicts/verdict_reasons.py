"""The reasons of a verdict, written for approvers: what was measured, the limit, and what to do."""

from collections.abc import Iterable, Iterator, Sequence

from fine_tune_assets.core.errors import materialize_hint
from fine_tune_assets.judging.statistics.power import Power
from fine_tune_assets.judging.verdicts.verdict_metrics import Family, Metric
from fine_tune_assets.recipes.error_levels import gain_level
from fine_tune_assets.recipes.schema import GateSettings

_ASSETS: dict[Family, str] = {
    "abilities": "retained_abilities",
    "checks": "answer_checks",
    "safety": "memorization_results",
    "robustness": "robustness_results",
    "documents": "document_answers",
    "subgroups": "judge_scores",
    "tasks": "judge_scores",
    "target": "judge_scores",
}
_MISSING: dict[Family, str] = {
    "abilities": "Retained abilities were not measured.",
    "checks": "The answers were not checked (numbers, doses, sides, negations).",
    "safety": "Memorization was not measured.",
    "robustness": "Robustness was not measured.",
    "documents": "Answers from documents were not measured.",
    "subgroups": "No group of examples was compared.",
    "tasks": "No task was compared.",
    "target": "The candidate was not compared with the incumbent.",
}
_LOSSES: dict[Family, str] = {
    "abilities": "Lower accuracy on {name}",
    "checks": "The check {name} passes less often",
    "safety": "Training data was memorized ({name})",
    "robustness": "Less robust ({name})",
    "documents": "Worse answers from documents ({name})",
    "subgroups": "Lower grades in a group ({name})",
    "tasks": "Lower grades on the task {name}",
    "target": "Worse than the incumbent",
}
_ADVICE: dict[Family, str] = {
    "abilities": "Raise the weights in the recipe's mix, then train again.",
    "checks": "Correct the training examples that fail this check, then train again.",
    "safety": "Mark missed identifiers on the desk or lower training.epochs in the recipe, then train again.",
    "robustness": "Add training examples of this case, then train again.",
    "documents": "Correct answers from documents, with their passages, then train again.",
    "subgroups": "Add approved examples of this group, then train again.",
    "tasks": "Add or correct training examples of this task, then train again.",
    "target": "Add or correct training examples, then train again.",
}
_MORE_EXAMPLES = "Approve more test examples; if the test split has more than judge.test_examples, raise that."
_MORE_ITEMS: dict[Family, str] = {
    "abilities": "Raise judge.ability_items, and add questions to data/evaluation/abilities if a file has fewer.",
    "documents": "Add questions to data/evaluation/retrieval.",
    "robustness": "Raise judge.robustness_items.",
}
_POWER = "with 80 % power"


def missing_family(family: Family) -> str:
    return f"{_MISSING[family]} {materialize_hint(_ASSETS[family])}"


def missing_metric_reason(family: Family, name: str) -> str:
    return f"{name} ({family}) was not measured. {materialize_hint(_ASSETS[family])}"


def failure(metric: Metric) -> str:
    """A reason to refuse."""
    loss, advice = _LOSSES[metric.family].format(name=metric.name), _ADVICE[metric.family]
    if metric.difference is None:  # pass or fail, without a comparison
        return f"{loss}. {metric.reason} {advice if metric.family == 'safety' else ''}".strip()
    if metric.family == "target":
        if metric.high is None or metric.high >= 0:
            loss = "The gain is too small"
        return f"{loss}: {_measurement_text(metric)}; {_limit_text(metric)}. {advice}"
    return (
        f"{loss}: {_measurement_text(metric)}; {_limit_text(metric)}. The loss beyond the limit is significant "
        f"(adjusted p {_p_value_text(metric)}). {advice}"
    )


def clear_gain(target: Metric, subjects: int, gate: GateSettings) -> str:
    """How much better the candidate is, and the level at which that counts."""
    is_gain = target.difference is not None and target.difference > 0
    return (
        f"{'Better than the incumbent by' if is_gain else 'Within the required gain: a difference of'} {target.difference:.2f} "
        f"points{_interval_text(target)} on {target.items} test examples of {subjects} subjects: "
        f"{_level_text(target, subjects, gate)}."
    )


def _level_text(target: Metric, subjects: int, gate: GateSettings) -> str:
    """A p-value and its level have different meanings for other numbers of subjects, so both are stated."""
    return (
        f"p {_tail_text(target.p)} for a gain of at most {target.margin:.2f} (gate.minimum_gain), required: at most "
        f"{gain_level(gate.verdict_level, subjects):.1g}, which keeps the chance of a false promotion in "
        f"{gate.verdicts_per_year} verdicts a year at {gate.yearly_false_promotions:.0%}"
    )


def _tail_text(tail: float | None) -> str:
    return "missing" if tail is None else f"{tail:.1g}"


def verdicts_spent(verdicts: int, gate: GateSettings) -> str:
    return (
        f"This is verdict {verdicts} within a year, and gate.verdicts_per_year is {gate.verdicts_per_year}: one more could "
        "promote by chance. Plan more verdicts in gate.verdicts_per_year, or have an approver sign."
    )


def not_clearly_better(target: Metric, power: Power, gate: GateSettings) -> str:
    """Why the gain is not shown, and what would be enough."""
    measured = f"The gain is not shown: {_measurement_text(target)}; {_level_text(target, power.subjects, gate)}."
    if target.low is not None and target.margin is not None and target.low > target.margin:
        return (
            f"{measured} With the worst possible value for each missing grade, the gain is not significant. "
            f"{materialize_hint('judge_scores')}"
        )
    if power.needed_examples is None:
        return f"{measured} Not enough evidence: graded examples of {power.subjects} subjects. Approve examples of more subjects."
    if power.examples < power.needed_examples:
        return (
            f"{measured} Not enough evidence: {power.examples} test examples; {power.needed_examples} would detect a gain of "
            f"{power.target_gain:.2f} points {_POWER}. Approve more examples."
        )
    detected = "no gain" if power.detectable_gain is None else f"a gain of {power.detectable_gain:.2f} points {_POWER}"
    return f"{measured} {power.examples} test examples detect {detected}. {_ADVICE['target']}"


def worse_than_allowed(metric: Metric) -> str:
    """A metric that is beyond its limit as measured, or missing."""
    if metric.difference is None:
        hint = "" if "`fine-tune " in metric.reason else materialize_hint(_ASSETS[metric.family])
        return " ".join(part for part in (f"{metric.name} ({metric.family}) is missing.", metric.reason, hint) if part)
    loss = _LOSSES[metric.family].format(name=metric.name)
    return f"{loss}: {_measurement_text(metric)}; {_limit_text(metric)}. {_uncertain_loss_text(metric)}"


def _uncertain_loss_text(metric: Metric) -> str:
    if metric.high is not None and metric.margin is not None and metric.high < -metric.margin:
        return (
            "The interval lies beyond the limit, but the loss is not significant after the correction for multiple tests "
            f"(Holm, adjusted p {_p_value_text(metric)}). {_more_items_text(metric)}"
        )
    if metric.difference is not None and metric.margin is not None and metric.difference >= -metric.margin:
        return (
            "With the worst possible value for each missing grade, the loss exceeds the limit. "
            f"{materialize_hint('judge_scores')}"
        )
    return f"The loss is above the limit, but by chance it may be within it. {_more_items_text(metric)}"


def not_shown(metric: Metric) -> str:
    """A loss that is within its limit as measured, while its interval is not."""
    note = f" {metric.reason}" if metric.reason else ""
    return (
        f"Not shown to be within its limit: {metric.name} ({metric.family}), {_measurement_text(metric)}; {_limit_text(metric)}."
        f"{note} {_more_items_text(metric)}"
    )


_PLURALS: dict[Family, str] = {
    "abilities": "abilities",
    "subgroups": "groups",
    "checks": "checks",
    "robustness": "robustness cases",
    "safety": "memorization tests",
    "documents": "answers from documents",
}


def task_standings(tasks: Sequence[Metric]) -> str:
    """Every task with its standing."""
    return f"By task: {'; '.join(_task_text(task) for task in tasks)}."


def _task_text(task: Metric) -> str:
    if task.difference is None:
        return f"{task.name} {task.standing}, {task.items} examples"
    grades = f"{task.incumbent:.2f} to {task.candidate:.2f}{_interval_text(task)}"
    return f"{task.name} {task.standing}, {grades} on {task.items} examples"


def worse_task(task: Metric) -> str:
    return (
        f"Worse on the task {task.name}: {_measurement_text(task)}. The interval lies below zero, and a task that got worse is "
        f"never promoted. {_ADVICE['tasks']}"
    )


def untested_task(task: Metric, gate: GateSettings) -> str:
    measured = "" if task.difference is None else f" {_measurement_text(task)};"
    if task.is_small:
        return (
            f"The task {task.name} was not tested:{measured} {task.items} test examples, and gate.minimum_group_examples is "
            f"{gate.minimum_group_examples}. Approve more examples of this task, or accept this in gate.untested_tasks."
        )
    if task.low is None:
        return f"The task {task.name} was not tested:{measured} {task.reason} {_MORE_EXAMPLES}"
    return (
        f"The task {task.name} was not tested:{measured} the interval includes a loss beyond the limit of {task.margin:.2f}. "
        f"{_more_items_text(task)}"
    )


def accepted_untested_task(task: Metric, reason: str) -> str:
    return f"The task {task.name} was not tested ({task.items} examples). The recipe accepts this: {reason}"


def untested_metrics(metrics: Sequence[Metric]) -> Iterator[str]:
    """What has a row in the verdict and is too small to decide."""
    worse = [metric for metric in metrics if metric.standing == "worse"]
    if worse:
        yield f"Worse, but within the limit or too small to decide: {', '.join(_name_items(worse))}."
    if names := _name_items(metric for metric in metrics if metric.family != "safety" and metric.standing != "worse"):
        yield f"Not tested, with the number of items: {', '.join(names)}."


def _name_items(metrics: Iterable[Metric]) -> list[str]:
    return [f"{metric.name} ({metric.items})" for metric in metrics]


def losses_within_budget(limited: Sequence[Metric]) -> str:
    shown = sum(metric.outcome == "passes" for metric in limited)
    present = {metric.family for metric in limited}
    *before, last = [words for family, words in _PLURALS.items() if family in present] or ["other metrics"]
    names = f"{', '.join(before)} and {last}" if before else last
    words = f"All {len(limited)} tested {names} are within their limits: {shown} shown by an interval or a passed test"
    rest = len(limited) - shown
    return f"{words}, {rest} as measured only (more items would show them)." if rest else f"{words}."


def _measurement_text(metric: Metric) -> str:
    if metric.unit == "points":
        return f"mean difference {metric.difference:.2f} points{_interval_text(metric)} on {metric.items} examples"
    baseline = "base model" if metric.family in ("abilities", "robustness") else "incumbent"
    return f"{baseline} {metric.incumbent:.2f}, candidate {metric.candidate:.2f}{_interval_text(metric)} on {metric.items} items"


def _interval_text(metric: Metric) -> str:
    if metric.low is None or metric.high is None:
        return ""
    return f" (95 % interval of the difference {metric.low:.2f} to {metric.high:.2f})"


def _limit_text(metric: Metric) -> str:
    if metric.margin is None:
        return "no limit is recorded"
    if metric.family == "target":
        return f"the recipe requires a gain of more than {metric.margin:.2f} points (gate.minimum_gain)"
    return f"the limit is a loss of {metric.margin:.2f}"


def _p_value_text(metric: Metric) -> str:
    return "missing" if metric.adjusted_p is None else f"{metric.adjusted_p:.4f}"


def _more_items_text(metric: Metric) -> str:
    more = _MORE_ITEMS.get(metric.family, _MORE_EXAMPLES)
    return f"About {metric.needed_items} items would settle it. {more}" if metric.needed_items else more
