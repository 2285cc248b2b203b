"""What keeps a recipe from a verdict, found before anybody reviews: this machine, the stored data and the reports at hand.

Each problem is one line: the field, what is wrong, and what to change. Whether the gate can open at all: `recipes/gate_reach`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from math import ceil
from pathlib import Path

import psutil

from fine_tune_assets.approval.recipe_preview import Preview
from fine_tune_assets.approval.task_kinds import UncheckedDraft
from fine_tune_assets.claims.grounding_checks import check_answer
from fine_tune_assets.claims.repeated_lines import MIN_REPORTS
from fine_tune_assets.claims.sections import list_heading_variants, matches_heading
from fine_tune_assets.cli.report_folder import ReportFolder
from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.bundled_model import bundled_gguf
from fine_tune_assets.instructions.general_data import list_sources
from fine_tune_assets.instructions.splits import SplitRule
from fine_tune_assets.recipes.domain_packs import load_pack
from fine_tune_assets.recipes.error_levels import fewest_subjects
from fine_tune_assets.recipes.gate_reach import TaskNeed
from fine_tune_assets.recipes.schema import BUNDLED, PREVIOUS_SET, ModelTask, Recipe, RowTask, Task

_HIGHEST_FRACTION = 0.5
"""Share of the test split above which too few examples remain for training."""
_UNSUPPORTED_SHARE = 0.2
"""Of the outputs of a task; fewer are single facts that a reviewer decides."""
_MAX_HEADINGS = 10
"""Printed in a message."""
_CPU_BYTES_PER_STORED = 2
"""Training on a processor holds 16-bit weights in 32 bits."""


def find_machine_problems(settings: Settings, recipe: Recipe, *, has_gpu: bool) -> Iterator[str]:
    """Models and programs that are not here, and what needs a GPU. A Ray cluster trains elsewhere."""
    is_gpu = has_gpu or bool(settings.ray.address)
    training = recipe.training
    if not is_gpu:
        fields = {
            "training.method": (training.method, training.method == "qlora", "lora"),
            "training.engine": (training.engine, training.engine == "unsloth", "trl"),
            "training.processes": (training.processes, training.processes > 1, 1),
        }
        for field, (value, needs_gpu, instead) in fields.items():
            if needs_gpu:
                yield f"{field}: {value} needs a GPU, and this machine has none. Set {instead}, or train on a GPU server."
    if training.engine == "unsloth" and is_gpu and not settings.unsloth_interpreter.is_file():
        yield "training.engine: unsloth is not installed. Run `make setup-unsloth`, or set trl."
    served = {"engine": (recipe.engine, "llama_cpp"), "judge.engine": (recipe.judge.engine, "transformers")}
    for field, (engine, instead) in served.items():
        if engine == "vllm" and not settings.vllm_interpreter.is_file():
            yield f"{field}: vllm is not installed. Run `make setup-vllm`, or set {instead}."
    yield from _find_base_problems(settings, recipe, is_gpu=is_gpu)
    yield from _find_judge_problems(settings, recipe)
    yield from _find_scrubber_problems(settings, recipe)


def _find_base_problems(settings: Settings, recipe: Recipe, *, is_gpu: bool) -> Iterator[str]:
    from fine_tune_assets.cli.plan_command import find_base_folder

    folder, named = find_base_folder(settings, recipe), recipe.base_model.folder
    if folder is None and named is None:
        if bundled_gguf() is None:  # otherwise `base_models` imports it
            yield "base_model.folder: the bundled model is not installed. Run `make setup`, or import a model."
    elif folder is None:
        yield (
            f"base_model.folder: {named} contains no model. Import one with `fine-tune models import PATH` and write the "
            "folder that it prints, or remove the field to use the bundled model."
        )
    elif not is_gpu:
        needed = _CPU_BYTES_PER_STORED * sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        total = psutil.virtual_memory().total
        if needed > total:
            yield (
                f"base_model.folder: {recipe.base_model.name} takes {needed / 1e9:.0f} GB to train without a GPU, and this "
                f"machine has {total / 1e9:.0f} GB. Remove the field to use the bundled model, or train on a GPU server."
            )


def _find_judge_problems(settings: Settings, recipe: Recipe) -> Iterator[str]:
    judge = recipe.judge
    if judge.needs_model and judge.backend == "folder" and not (settings.data_dir / judge.model).exists():
        yield f"judge.model: there is no {judge.model} in the data folder. Put it there, or set judge.kind: verifier."
    if judge.needs_model and judge.backend == "endpoint" and not settings.judge.url:
        yield "judge.backend: endpoint needs FINE_TUNE_JUDGE_URL. Set it, or set judge.kind: verifier."


def _find_scrubber_problems(settings: Settings, recipe: Recipe) -> Iterator[str]:
    model = recipe.scrub.entity_model
    kind, _, package = model.partition(":")
    is_here = (
        find_spec(package) is not None
        if kind == "spacy" and package
        else model == "tagger" or (settings.data_dir / Path(model).expanduser()).is_dir()
    )
    if not is_here:
        yield f"scrub.entity_model: {model} is not installed. Set tagger, the bundled model, or install it."


def find_mix_problems(settings: Settings, recipe: Recipe) -> Iterator[str]:
    """Data sets that the mix names but that were not imported: the instruction set would fail, after the reviews."""
    try:
        known = {BUNDLED, PREVIOUS_SET, *(one.mix_source for one in list_sources(settings.layout.general_data))}
    except FineTuneError as error:
        yield f"mix: {error}"
        return
    for name in sorted(set(recipe.mix) - known):
        yield (
            f"mix.{name}: there is no such data set. Known: {', '.join(sorted(known))}. Import it with "
            "`fine-tune datasets import`, or remove it."
        )


def find_report_problems(recipe: Recipe, folder: ReportFolder, preview: Preview) -> list[str]:
    """With these reports: tasks without a draft, headings that no report has, and a split that is too small for the gate."""
    empty = list(_find_empty_tasks(recipe, preview))
    return empty or list(_find_split_problems(recipe, folder, preview.drafts))


def _find_empty_tasks(recipe: Recipe, preview: Preview) -> Iterator[str]:
    found = {one.task: one.drafts for one in preview.tasks}
    for task in recipe.tasks:
        if found[task.name] or isinstance(task, RowTask):
            continue
        partial = list(_find_partial_patterns(task, preview))
        yield from partial
        absent = [
            list_heading_variants(heading)[0]
            for heading in task.used_headings
            if not any(matches_heading(heading, name) for name in preview.sections)
        ]
        if partial:
            continue
        if absent:
            known = ", ".join(list(preview.sections)[:20]) or "none"
            yield (
                f"tasks.{task.name}: no report has text under {', '.join(absent)}. Sections found: {known}. Correct the headings "
                "of the task, or add them to section_names.txt of the domain pack."
            )
        else:
            yield (
                f"tasks.{task.name}: these reports make no draft. {_list_reasons(preview, task.name)}. Change the "
                "task or the reports."
            )
    if not sum(found.values()) and all(isinstance(task, RowTask) for task in recipe.tasks):
        yield "tasks: these reports make no draft. Name the folder of the imported data set."


def _list_reasons(preview: Preview, task: str) -> str:
    """The most frequent reason of each source."""
    by_source = next(one.left_out_by_source for one in preview.tasks if one.task == task)
    return "; ".join(
        f"{source}: {max(reasons.values())} without a draft, {max(reasons, key=lambda reason: reasons[reason])}"
        for source, reasons in sorted(by_source.items())
        if reasons
    )


def describe_reports_without_draft(preview: Preview) -> Iterator[str]:
    """Notes for tasks with drafts of only a part of the reports: the most frequent reason of each source."""
    for one in preview.tasks:
        if one.drafts and one.left_out_by_source:
            yield f"tasks.{one.task}: {_list_reasons(preview, one.task)}."


def describe_partial_patterns(recipe: Recipe, preview: Preview) -> Iterator[str]:
    """For tasks with drafts, what `_find_partial_patterns` finds: a note, since the pattern may be meant so."""
    drafted = {one.task for one in preview.tasks if one.drafts}
    for task in recipe.tasks:
        if task.name in drafted:
            yield from _find_partial_patterns(task, preview)


def describe_run_on_outputs(preview: Preview) -> Iterator[str]:
    """Notes, since a section may have parts of its own. Without the lines, which are text of reports."""
    for one in preview.run_on_outputs:
        signs = [
            *([f"{one.with_headings} contain a line that looks like a heading"] if one.with_headings else []),
            *([f"{one.with_shared_end} end with a line that many of them share"] if one.with_shared_end else []),
        ]
        yield (
            f"tasks.{one.task}: of {one.drafts} outputs, {' and '.join(signs)}. If this is text after the section, such as "
            "closing remarks, name the line in other_headings of the task. `fine-tune recipe check --drafts` lists these lines."
        )


def describe_unsupported_outputs(recipe: Recipe, preview: Preview) -> Iterator[str]:
    """Notes for tasks whose outputs often state numbers or dates that their inputs lack: a model can only guess these."""
    checks = [name for name in ("numbers", "dates") if name in load_pack(recipe.domain).pack.checks]
    for task in recipe.tasks:
        drafts = [draft for draft in preview.drafts if draft.task == task.name]
        found = [check_answer(draft.output, f"{draft.instruction}\n{draft.input}", checks) for draft in drafts]
        for name in checks:
            count = sum(bool(one[name]) for one in found)
            if count > _UNSUPPORTED_SHARE * len(drafts):
                yield (
                    f"tasks.{task.name}: {count} of {len(drafts)} outputs state {name} that their input lacks, so a model can "
                    "only guess them. Add the section that has them to input_sections, or leave them out of the output in review."
                )


def _find_partial_patterns(task: Task, preview: Preview) -> Iterator[str]:
    """Patterns of the task that are found inside headings which no spelling matches: a pattern must match the whole heading."""
    for heading in task.used_headings:
        for written in list_heading_variants(heading):
            if not (len(written) > 2 and written.startswith("/") and written.endswith("/")):
                continue
            inner = written[1:-1]
            wider = f"/.*({inner}).*/" if "|" in inner else f"/.*{inner}.*/"
            repeated = [one.heading for one in preview.unnamed_headings if one.reports >= MIN_REPORTS]
            found = {name: None for name in (*preview.sections, *repeated) if _is_inside(wider, name.upper(), task)}
            if found:
                yield (
                    f"tasks.{task.name}: a pattern must match the whole heading, and {written} is only a part of "
                    f"{', '.join(list(found)[:_MAX_HEADINGS])}. List these spellings, or write {wider}, with which every line "
                    "that contains the words is a heading."
                )


def _is_inside(wider: str, name: str, task: Task) -> bool:
    is_named = any(matches_heading(heading, name) for heading in (*task.used_headings, *task.other_headings))
    return matches_heading(wider, name) and not is_named


def _find_split_problems(recipe: Recipe, folder: ReportFolder, drafts: Sequence[UncheckedDraft]) -> Iterator[str]:
    """Counts each question once, as an instruction set does. With `test_from`, the dates of the reports decide instead."""
    split, gate = recipe.split, recipe.gate
    distinct = list_distinct(drafts)
    if any(isinstance(task, ModelTask | RowTask) for task in recipe.tasks):
        return  # a model or an import adds drafts
    if len(distinct) < split.minimum_examples:
        yield (
            f"split.minimum_examples: {split.minimum_examples} approved examples are required, and these reports make "
            f"{len(distinct)} different drafts. Add reports, or lower it to {len(distinct)} if the gate allows."
        )
    if split.test_from is not None:
        return
    tested, subjects = count_tested(recipe, folder, distinct)
    about = "" if folder.has_own_keys else "about "
    yield from _require(
        recipe, len(distinct), sum(tested.values()), gate.minimum_examples, f"{about}%d", "gate.minimum_examples"
    )
    for task, count in sorted(tested.items()):
        if task not in gate.untested_tasks:
            drafted = sum(draft.task == task for draft in distinct)
            field = f"gate.minimum_group_examples, task {task}"
            yield from _require(recipe, drafted, count, gate.minimum_group_examples, f"{about}%d", field)
    fewest = fewest_subjects(gate.verdict_level)
    if fewest is not None and subjects < fewest:
        yield (
            f"split.test_fraction: {about}{subjects} subjects are in the test split, and {fewest} are the fewest that show a "
            "gain. Add reports of more subjects, or raise it."
        )


def _require(recipe: Recipe, drafts: int, tested: int, needed: int, form: str, field: str) -> Iterator[str]:
    if tested >= needed:
        return
    fraction = recipe.split.test_fraction
    fix = (
        f"Add reports: {ceil(needed / fraction)} drafts are enough" if fraction else "Raise split.test_fraction above 0"
    )
    share = ceil(100 * needed / max(1, drafts)) / 100
    if fraction and fraction < share <= _HIGHEST_FRACTION:
        fix += f"; or raise split.test_fraction to {share:.2f}"
    yield (
        f"split.test_fraction: {form % tested} of {drafts} drafts are in the test split if all are approved, and {needed} are "
        f"needed ({field}). {fix}."
    )


def list_distinct(drafts: Iterable[UncheckedDraft]) -> list[UncheckedDraft]:
    """Each question once, as an instruction set has it."""
    return list({(draft.task, " ".join(draft.input.casefold().split())): draft for draft in drafts}.values())


def format_need(need: TaskNeed, tested: int | None, about: str = "") -> str:
    """`tested`: drafts in the test split, if known."""
    if not need.test_examples:
        return "not tested (gate.untested_tasks)"
    approved = "approved examples" if need.examples is None else f"{need.examples} approved examples"
    found = "" if tested is None else f"; {about}{tested} drafts are in the test split"
    return f"needs {approved}, {need.test_examples} of them in the test split{found}"


def count_tested(recipe: Recipe, folder: ReportFolder, drafts: Iterable[UncheckedDraft]) -> tuple[Counter[str], int]:
    """Test examples by task, and test subjects: counted with this installation's subject keys, else expected."""
    by_task: dict[str, list[UncheckedDraft]] = defaultdict(list)
    for draft in drafts:
        by_task[draft.task].append(draft)
    fraction, keys = recipe.split.test_fraction, {draft.subject_key for found in by_task.values() for draft in found}
    if not folder.has_own_keys:
        expected = {task: int(len(found) * fraction + 1e-9) for task, found in by_task.items()}
        return Counter(expected), int(len(keys) * fraction + 1e-9)
    rule = SplitRule(recipe.split)
    test = {key for key in keys if rule.assign(key) == "test"}
    return Counter({task: sum(d.subject_key in test for d in found) for task, found in by_task.items()}), len(test)


def describe_next_steps(settings: Settings, recipe: Recipe) -> Iterator[str]:
    """Prerequisites of drafts that the recipe does not decide."""
    folders = {name: settings.data_dir / name for name in load_pack(recipe.domain).pack.labelled_sets}
    missing = [name for name, folder in folders.items() if not any(folder.glob("*.jsonl"))]
    if missing:
        yield (
            f"Next: label identifiers of some reports in {', '.join(missing)}, below the data folder. Until the scrubber is "
            "measured on them, no draft is made (docs/how-to/add-a-domain.md)."
        )
