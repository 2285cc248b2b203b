"""The questions of `fine-tune recipe new`: reports, domain, tasks and hardware, and what can be promised with the answers.

Each question can be answered by an option. Without a terminal, what the reports show is taken as the answer, or the option is
named. Text of reports is never printed.
"""

import re
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import click

from fine_tune_assets.approval.preview_examples import INSIDE
from fine_tune_assets.approval.recipe_preview import Preview, preview_recipe
from fine_tune_assets.approval.section_proposals import FoundSection, find_sections
from fine_tune_assets.approval.task_kinds import UncheckedDraft
from fine_tune_assets.cli.judge_subjects import (
    count_split_subjects,
    describe_subjects,
    find_subject_needs,
    list_judged_subjects,
)
from fine_tune_assets.cli.new_recipes import (
    SPELLED,
    RecipeAnswers,
    TaskAnswers,
    estimate_epoch_minutes,
    plan_split,
    set_value,
    write_recipe,
)
from fine_tune_assets.cli.output import show_message
from fine_tune_assets.cli.recipe_problems import (
    describe_next_steps,
    describe_partial_patterns,
    describe_reports_without_draft,
    describe_run_on_outputs,
    describe_unsupported_outputs,
    find_machine_problems,
    find_mix_problems,
    find_report_problems,
    format_need,
)
from fine_tune_assets.cli.repeated_drafts import choose_threshold, describe_repeated_drafts, find_repeated_drafts
from fine_tune_assets.cli.report_folder import ReportFolder, read_report_folder
from fine_tune_assets.cli.wizard_tasks import WizardOptions, ask, ask_tasks, choose_proposal
from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.keys import SUBJECTS_KEY, read_or_create_key
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.instructions.splits import SPLITS, SplitRule
from fine_tune_assets.recipes.domain_packs import PACK_FILE, load_pack, shipped_packs
from fine_tune_assets.recipes.gate_reach import detectable_gain, list_obstacles, list_task_needs
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.recipes.schema import Recipe, SplitSettings

_CHARACTERS_PER_TOKEN = 2.2
"""A low estimate, so that every example fits: English has about four, codes and tables fewer."""
_TYPICAL_CHARACTERS, _TEMPLATE_TOKENS = 4.2, 40
"""Characters per token of English, and tokens of the chat template, for the expected training time."""
_LONGEST = 2048
_MONTHS = 12
_DATE = re.compile(r"(?<![\d./-])(\d{1,2})[./-](\d{1,2})[./-](?:19|20)\d\d(?!\d)")
_SALTS = 50
"""Splits that are tried. They depend on subject keys alone, so none favours a result."""


def run_wizard(
    settings: Settings, file: Path | None, options: WizardOptions, *, has_gpu: bool
) -> tuple[Path, list[str]]:
    """Ask, write the file, and print what it promises. Returns the file and what is wrong with it."""
    folder = options.reports or _ask_folder()
    domain = resolve_domain(settings, options.domain or _ask_domain(settings))
    pack = load_pack(domain)
    read, sections = None, list[FoundSection]()
    if folder is not None:
        read_or_create_key(settings.subject_keys, SUBJECTS_KEY)  # the split follows from it
        read = read_report_folder(settings, folder, domain, is_subject_required=True)
        sections = find_sections(read.reports)
        _print_sections(read, sections)
    proposed = None
    if read is not None and not options.outputs:
        proposed = choose_proposal(read, sections, pack.section_names)
    tasks = ask_tasks(options, sections, proposed)
    target = file or Path(f"{Path(domain).name}.yaml")
    answers = RecipeAnswers(
        name=target.stem,
        domain=domain,
        rubric="domain" if pack.rubric_file.is_file() else "general",
        tasks=tasks,
        source=ask("source", "Source whose texts need no review; empty for none", "", options.source),
        base_folder=_choose_base(options, has_gpu=has_gpu),
        has_inline_headings=_uses_inline_headings(tasks, sections),
        has_day_first_dates=read is not None and has_day_first_dates(report.text for report in read.reports),
    )
    return target, _write(settings, target, answers, read, sections, has_gpu=has_gpu)


def _uses_inline_headings(tasks: Sequence[TaskAnswers], sections: Sequence[FoundSection]) -> bool:
    """Whether a task uses a section that has text on the line of its heading."""
    used = {one.upper() for task in tasks for heading in (*task.inputs, task.output) for one in heading.split(SPELLED)}
    return any(one.is_inline and one.heading.upper() in used for one in sections)


def has_day_first_dates(texts: Iterable[str]) -> bool:
    """Whether dates such as 28/02/2022 prove that the day comes first, and none proves the opposite."""
    pairs = {(int(first) > _MONTHS, int(second) > _MONTHS) for text in texts for first, second in _DATE.findall(text)}
    return (True, False) in pairs and (False, True) not in pairs


def resolve_domain(settings: Settings, named: str) -> str:
    """A shipped pack, or a folder relative to the data folder; a path from the current folder is accepted too."""
    if named in shipped_packs() or (settings.installation.data_dir / named / PACK_FILE).is_file():
        return named
    folder, root = Path(named).expanduser().resolve(), settings.installation.data_dir
    if not (folder / PACK_FILE).is_file():
        return named  # load_pack says what is missing
    return str(folder.relative_to(root)) if folder.is_relative_to(root) else str(folder)


def _ask_folder() -> Path | None:
    if not sys.stdin.isatty():
        return None
    named = click.prompt("Folder of reports; empty for none", default="", show_default=False)
    if named and not Path(named).is_dir():
        raise click.UsageError(f"The folder {named} does not exist.")
    return Path(named) if named else None


def _ask_domain(settings: Settings) -> str:
    root = settings.installation.data_dir
    own = sorted(str(file.parent.relative_to(root)) for file in root.glob(f"packs/*/{PACK_FILE}"))
    return ask("domain", f"Domain pack ({', '.join([*shipped_packs(), *own])})")


def _print_sections(read: ReportFolder, sections: Sequence[FoundSection]) -> None:
    unreadable = ", ".join(f"{count} {reason}" for reason, count in read.unreadable.items()) or "none"
    click.echo(f"{len(read.reports)} reports of {read.subjects} subjects; unreadable: {unreadable}")
    for number, one in enumerate(sections, 1):
        kind = f"{one.values} different short texts" if one.is_label else f"{one.words} words in the middle"
        click.echo(f"  {number:>2}  {one.heading}: in {one.reports} reports, {kind}")


def _choose_base(options: WizardOptions, *, has_gpu: bool) -> str:
    """The folder of an imported model for a GPU; empty: the bundled model, which trains everywhere."""
    detected = "gpu" if has_gpu else "cpu"
    hardware = ask("hardware", "Hardware that trains (cpu, gpu)", detected, options.hardware)
    if hardware not in ("cpu", "gpu"):
        raise click.UsageError("--hardware must be cpu or gpu.")
    if hardware == "cpu":
        if options.base_model:
            raise click.UsageError("--base-model needs a GPU. Use --hardware gpu, or leave it out.")
        return ""
    question = "Folder of the base model, as `fine-tune models list` prints it; empty for the bundled one"
    return ask("base-model", question, "", options.base_model)


def _write(
    settings: Settings,
    target: Path,
    answers: RecipeAnswers,
    read: ReportFolder | None,
    sections: Sequence[FoundSection],
    *,
    has_gpu: bool,
) -> list[str]:
    """Write it once to count its drafts, and again with the numbers that follow from them."""
    salt = answers.name.replace("_", "-")
    target.write_text(write_recipe(answers, f"{salt}-1"), encoding="utf-8")
    recipe = load_recipe(str(target))
    if read is None:
        _print_promise(recipe, None)
    else:
        names = load_pack(recipe.domain).section_names
        preview = preview_recipe(read.reports, recipe.tasks, names)
        inner = _list_inner_sections(preview, sections)
        answers = replace(answers, other_headings=inner)
        subjects = list_judged_subjects(recipe, preview.drafts)
        sized = replace(_size(answers, preview), subjects=len(subjects), needs=find_subject_needs(recipe))
        target.write_text(write_recipe(sized, _choose_salt(sized, salt, recipe, preview, subjects)), encoding="utf-8")
        recipe = load_recipe(str(target))
        preview = preview_recipe(read.reports, recipe.tasks, names)
        recipe = _raise_threshold(target, recipe, preview)
        _print_promise(recipe, preview)
        for line in (
            *_describe_inner_sections(inner),
            *describe_reports_without_draft(preview),
            *describe_partial_patterns(recipe, preview),
            *describe_run_on_outputs(preview),
            *describe_unsupported_outputs(recipe, preview),
            *describe_subjects(recipe, preview.drafts, has_own_keys=read.has_own_keys),
            *describe_repeated_drafts(recipe, preview.drafts),
        ):
            show_message(line)
    for step in describe_next_steps(settings, recipe):
        show_message(step)
    here = find_machine_problems(settings, recipe, has_gpu=has_gpu)
    stored = [*list_obstacles(recipe), *here, *find_mix_problems(settings, recipe)]
    if read is None:
        return stored
    return [*stored, *find_report_problems(recipe, read, preview), *find_repeated_drafts(recipe, preview.drafts)]


def _raise_threshold(target: Path, recipe: Recipe, preview: Preview) -> Recipe:
    """With a higher `dedup.near_threshold` in the file if the reports are so alike that too few drafts would remain."""
    own, chosen = recipe.dedup.near_threshold, choose_threshold(recipe, preview.drafts)
    if chosen == own:
        return recipe
    target.write_text(set_value(target.read_text(encoding="utf-8"), "  near_threshold", f"{chosen}"), encoding="utf-8")
    show_message(
        f"dedup.near_threshold is {chosen}: with {own}, too many drafts would count as near repetitions of another split."
    )
    return load_recipe(str(target))


def _list_inner_sections(preview: Preview, sections: Sequence[FoundSection]) -> list[str]:
    """The listed sections that are inside another one in some reports."""
    inner = {one.heading.upper() for one in preview.unnamed_headings if one.evidence == INSIDE}
    return [one.heading for one in sections if one.heading.upper() in inner]


def _describe_inner_sections(inner: Sequence[str]) -> Iterator[str]:
    if inner:
        yield (
            f"Inside another section in some reports: {', '.join(inner)}. If these are sections of their own, use the line "
            "other_headings of the recipe, which is a comment now."
        )


def _size(answers: RecipeAnswers, preview: Preview) -> RecipeAnswers:
    drafts = preview.drafts
    if not drafts:
        return answers
    longest = max(len(one.instruction) + len(one.input) + len(one.output) for one in drafts)
    answer = max(_count_answer_tokens(one.output) for one in drafts)
    return replace(
        answers,
        drafts=min(len({one.input for one in drafts if one.task == task.name}) for task in answers.tasks),
        draft_tokens=sum(map(_count_tokens, drafts)),
        max_length=_round_up(int((longest + 200) / _CHARACTERS_PER_TOKEN), _LONGEST, 64),
        max_new_tokens=_round_up(answer, 512, 32),
    )


def _count_tokens(draft: UncheckedDraft) -> int:
    characters = len(draft.instruction) + len(draft.input) + len(draft.output)
    return int(characters / _TYPICAL_CHARACTERS) + _TEMPLATE_TOKENS


def _describe_training_time(recipe: Recipe, preview: Preview) -> str:
    """Empty for a model that is not bundled: its time depends on the GPU."""
    if recipe.base_model.folder:
        return ""
    rule = SplitRule(recipe.split)
    tokens = sum(_count_tokens(one) for one in preview.drafts if rule.assign(one.subject_key) == "train")
    minutes = recipe.training.epochs * estimate_epoch_minutes(tokens)
    return f"Training takes about {minutes} min on two cores."


def _count_answer_tokens(text: str) -> int:
    """At least what the bundled tokenizer counts, for every answer of the shipped samples. Each digit is a token.

    A base model writes up to the limit, so a limit far above it costs minutes.
    """
    digits = sum(map(str.isdigit, text))
    return int(1.1 * (digits + (len(text) - digits) / 3)) + 8


def _round_up(tokens: int, most: int, step: int) -> int:
    return min(most, step * (tokens // step + 1))


def _choose_salt(answers: RecipeAnswers, stem: str, recipe: Recipe, preview: Preview, subjects: Collection[str]) -> str:
    """The first salt that gives each task's test split what the gate needs and a few more, and the judge its subjects; else the
    one with most."""
    needs, best = answers.needs, (False, -1, f"{stem}-1")
    plan = plan_split(len(answers.tasks), answers.drafts, answers.subjects, needs)
    expected = int(plan.test_fraction * min(one.drafts for one in preview.tasks))
    wanted = min(expected, int(1.2 * plan.test_examples / len(answers.tasks)))
    for number in range(1, _SALTS + 1):
        salt = f"{stem}-{number}"
        split = replace(recipe.split, salt=salt, test_fraction=plan.test_fraction)
        counts, (tested, others) = _count_splits(split, preview), count_split_subjects(split, subjects)
        fewest = min(counts[task.name, "test"] for task in answers.tasks)
        has_validation = any(counts[task.name, "validation"] for task in answers.tasks)
        is_fit = needs is None or (tested >= needs.tested and others >= min(needs.others, len(subjects) - needs.tested))
        if fewest >= wanted and has_validation and is_fit:
            return salt
        best = max(best, (is_fit, fewest if has_validation else 0, salt))
    return best[2]


def _count_splits(split: SplitSettings, preview: Preview) -> Counter[tuple[str, str]]:
    """(Task, split) → drafts."""
    rule = SplitRule(split)
    return Counter((draft.task, rule.assign(draft.subject_key)) for draft in preview.drafts)


def _print_promise(recipe: Recipe, preview: Preview | None) -> None:
    plan, needs = plan_split(len(recipe.tasks), None), list_task_needs(recipe)
    split, tested = recipe.split, plan.test_examples
    counts = None if preview is None else _count_splits(recipe.split, preview)
    click.echo(f"Base model {recipe.base_model.name}, {recipe.training.method}.")
    if counts is not None:
        if not counts:
            return  # the problems say why
        sums = {name: sum(n for (_, of), n in counts.items() if of == name) for name in SPLITS}
        by_split = ", ".join(f"{sums[name]} {name}" for name in SPLITS)
        click.echo(f"{counts.total()} drafts: {by_split}, if every draft is approved and none is a duplicate.")
        tested = sums["test"]
    if preview is not None and (sentence := _describe_training_time(recipe, preview)):
        click.echo(sentence)
    spare = tested - plan.test_examples
    click.echo(
        f"The gate needs {split.minimum_examples} approved examples, {plan.test_examples} of them in the test split"
        + (f"; {spare} test examples may be rejected." if counts is not None and spare >= 0 else ".")
    )
    for need in needs if len(needs) > 1 else ():
        click.echo(f"  {need.task}: {format_need(need, None if counts is None else counts[need.task, 'test'])}")
    if not tested:
        return  # the problems say why
    gain = detectable_gain(recipe.gate, min(tested, recipe.judge.test_examples))
    if gain is None:
        click.echo(f"{tested} test examples show no gain, however large.")
    else:
        click.echo(f"{tested} test examples detect a gain of {gain:.2f} points (grades from 1 to 10) with 80 % power.")


def require_new(file: Path) -> None:
    """Raises FineTuneError unless a recipe can be written there."""
    if file.suffix != ".yaml" or re.fullmatch(r"[a-z0-9][a-z0-9_]*", file.stem) is None:
        raise FineTuneError(
            f"{file.name} is not a valid recipe file: use lower-case letters, digits, _ and the ending .yaml."
        )
    if file.exists():
        raise FineTuneError(f"{file} exists. Remove it, or use another name.")
    if not file.parent.is_dir():
        raise FineTuneError(f"The folder {file.parent} does not exist. Create it, or use another one.")
