"""`fine-tune verifier`: train a verifier on your own reports, and measure one on reports that it has not seen."""

import json
import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import Progress as Bar

from fine_tune_assets.cli.output import json_option, show_json, show_rows
from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.progress import Progress
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.ledger.database import open_ledger
from fine_tune_assets.ledger.reviews.identifier_marks import read_missed_terms
from fine_tune_assets.ledger.reviews.statement_labels import (
    LabelledTexts,
    StatementLabel,
    read_labelled_statements,
)

if TYPE_CHECKING:
    from fine_tune_assets.judging.judges.adaptation.adaptation_record import Adaptation

_files = click.option(
    "--reports",
    "files",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="JSONL with subject, record, note; repeatable.",
)
SHIPPED, ENCODER = "shipped", "encoder"
_HEADERS = {"kind": "kind of error", "auroc": "AUROC", "blind_auroc": "without the record", "wrong": "wrong statements"}
_ADAPTATION_HEADERS = {
    "kind": "kind of error",
    "cases": "cases",
    "lowered_before": "lower the grade",
    "lowered_after": "after training",
    "auroc_before": "AUROC",
    "auroc_after": "after training",
}


class ExistingFolderError(FineTuneError):
    """The folder for the verifier exists."""


@click.group()
def verifier() -> None:
    """Train and measure a verifier of statements."""


@verifier.command()
@click.argument("name")
@_files
@click.option("--pairs", type=click.IntRange(min=100), default=250_000, show_default=True, help="Training pairs.")
@click.option(
    "--base",
    default=SHIPPED,
    show_default=True,
    help="`shipped`, `encoder`, or a folder.",
)
@click.option(
    "--test-reports",
    "test_files",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="JSONL that measures it; repeatable.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the training.")
@click.option("--leave-out", "left_out", multiple=True, help="Kind of error to leave out; repeatable.")
def train(
    name: str,
    files: Sequence[Path],
    pairs: int,
    base: str,
    test_files: Sequence[Path],
    seed: int,
    left_out: Sequence[str],
) -> None:
    """Train a verifier on your reports.

    Writes the folder NAME below `verifiers` in the data folder. Without --reports, it learns from the training examples of
    the newest instruction set and from statements that experts overruled. Without --test-reports, 15 % of the subjects measure
    it. The training continues from the shipped verifier; --base encoder starts from the sentence encoder alone. --base FOLDER
    continues from another verifier, or starts from a local BERT model of any size. Use the result with `judge.verifier:
    verifiers/NAME`. 100,000 pairs take about 25 minutes on two cores with the bundled encoder.
    """
    from fine_tune_assets.judging.judges.verifier.verifier_builds import build_verifier
    from fine_tune_assets.judging.judges.verifier.verifier_sources import gather_sources

    settings = load_settings()
    folder = settings.layout.verifiers / name
    if folder.exists():
        raise ExistingFolderError(f"{folder} exists. Choose another name, or delete the folder.")
    sources = gather_sources(settings.layout, files, [] if files else read_usable_labels(settings), test_files)
    with Bar(console=Console(stderr=True), transient=True) as bar:
        results = build_verifier(
            folder,
            sources,
            {
                "pairs": pairs,
                "seed": seed,
                "threads": settings.threads or len(os.sched_getaffinity(0)),
                "base": _base_folder(base),
                "left_out": frozenset(left_out),
            },
            _shown(bar),
        )
    _show(results, is_json=False)
    click.echo(f"The verifier is in {folder}. To use it, set judge.verifier: verifiers/{name} in the recipe.")


@verifier.command()
@click.option("--pairs", type=click.IntRange(min=100), default=20_000, show_default=True, help="Training pairs.")
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the training.")
@json_option
def adapt(pairs: int, seed: int, is_json: bool) -> None:
    """Adapt the verifier to your domain.

    Plants errors into your approved examples, measures the recipe's verifier on them, and trains it further. The result is kept
    below `verifiers` in the data folder if it detects more errors in subjects that it was not trained on, by the lower end of the
    interval; otherwise it is deleted. The test split is not used. 20,000 pairs take about 10 minutes on two cores.
    """
    from fine_tune_assets.judging.judges.adaptation.verifier_adaptation import (
        AdaptationPlan,
        adapt_verifier,
        base_folder,
    )
    from fine_tune_assets.judging.judges.own_domain import needs_own_ratings, prose_tasks
    from fine_tune_assets.judging.judges.rubrics import read_recipe_rubric
    from fine_tune_assets.judging.judges.statement_judge import StatementJudge
    from fine_tune_assets.judging.judges.verifier.verifier_reader import open_verifier
    from fine_tune_assets.judging.judges.verifier.verifier_sources import read_own_reports
    from fine_tune_assets.recipes.domain_packs import load_pack
    from fine_tune_assets.recipes.loader import load_recipe

    settings = load_settings()
    recipe, threads = load_recipe(settings.recipe), settings.threads or len(os.sched_getaffinity(0))
    rubric = read_recipe_rubric(recipe)
    criterion = next((one.name for one in rubric if one.measured_by == "statements"), "")
    if not criterion:
        raise FineTuneError("The rubric has no criterion that is measured_by: statements. Add one to judge.rubric.")
    base = base_folder(settings.layout, recipe.judge.verifier)
    reader = open_verifier(str(base), threads)
    judge = StatementJudge("verifier", reader, rubric, checks=load_pack(recipe.domain).pack.checks)
    tasks = prose_tasks(recipe)
    reports = [one for one in read_own_reports(settings.layout) if one.task in tasks]
    with Bar(console=Console(stderr=True), transient=True) as bar:
        plan = AdaptationPlan(base, pairs, seed, threads)
        adaptation = adapt_verifier(settings.layout, reports, judge, criterion, plan, _shown(bar))
    _show_adaptation(adaptation, is_json=is_json)
    if not is_json and needs_own_ratings(recipe):
        click.echo(_describe_ratings(recipe.judge.agreement_floor))


@verifier.command()
@json_option
def adaptation(is_json: bool) -> None:
    """Print the last adaptation."""
    from fine_tune_assets.judging.judges.adaptation.adaptation_record import read_adaptation

    found = read_adaptation(load_settings().layout.verifiers)
    if found is None:
        raise FineTuneError("No verifier was adapted yet. Run `fine-tune verifier adapt`.")
    _show_adaptation(found, is_json=is_json)


@verifier.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path, exists=True, file_okay=False))
@_files
@json_option
def measure(folder: Path | None, files: Sequence[Path], is_json: bool) -> None:
    """Measure a verifier by kind of error.

    FOLDER is the verifier's folder, by default the shipped one. Name reports that it was not trained on. The column "without the
    record" is a control: about 0.5 means that the statements alone give nothing away.
    """
    from fine_tune_assets.judging.judges.verifier.training_reports import read_reports
    from fine_tune_assets.judging.judges.verifier.verifier_builds import measure_reports
    from fine_tune_assets.judging.judges.verifier.verifier_reader import open_verifier

    if not files:
        raise click.UsageError("Name at least one file of unseen reports with --reports.")
    reader = open_verifier(str(folder or ""), load_settings().threads)
    _show([asdict(one) for one in measure_reports(reader, read_reports(files))], is_json=is_json)


@verifier.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path, exists=True, file_okay=False))
def card(folder: Path | None) -> None:
    """Print the card of a verifier.

    FOLDER is the verifier's folder, by default the shipped one. The card says what it was trained on and how it was measured.
    """
    from fine_tune_assets.judging.judges.verifier.verifier_files import CARD_FILE, SHIPPED_FOLDER

    file = (folder or SHIPPED_FOLDER) / CARD_FILE
    if not file.is_file():
        raise FineTuneError(f"{file.parent} holds no verifier. Train one with `fine-tune verifier train`.")
    click.echo(json.dumps(json.loads(file.read_text(encoding="utf-8")), indent=2))


def _show_adaptation(found: "Adaptation", *, is_json: bool) -> None:
    """The figures of both verifiers, and which one is kept."""
    from fine_tune_assets.judging.judges.adaptation.adaptation_record import show_kinds

    if is_json:
        show_json({**asdict(found), "is_better": found.is_better})
        return
    show_rows(show_kinds(found), _ADAPTATION_HEADERS, is_json=False)
    gain = f"{100 * found.gain.value:+.1f} points (95 % interval {100 * found.gain.low:+.1f} to {100 * found.gain.high:+.1f})"
    click.echo(
        f"Measured on approved examples of {found.held_out_subjects} subjects, trained on {found.training_subjects} others "
        f"({found.pairs} pairs, {found.processor_seconds} processor seconds). Errors detected: {gain}."
    )
    if found.is_better:
        click.echo(f"The trained verifier is better. To use it, set judge.verifier: {found.verifier} in the recipe.")
    else:
        click.echo("The trained verifier is not shown to be better, so it was deleted. The recipe's verifier stays.")


def _describe_ratings(floor: float) -> str:
    from fine_tune_assets.judging.judges.needed_ratings import describe_needed

    lines = [
        f"  {agreement:.1f}: {half or 'not reachable'} ratings in half of the cases, {most or 'not reachable'} in 80 %"
        for agreement, half, most in describe_needed(floor)
    ]
    return "\n".join(
        (
            f"Next: train and judge a candidate; then your experts rate its answers on the desk's page Spot checks. The judge "
            f"qualifies when the lower end of its agreement with them reaches {floor:.2f}. With a true agreement of",
            *lines,
        )
    )


def _base_folder(base: str) -> Path | None:
    """The verifier whose training is continued, or another BERT model; None for the sentence encoder."""
    from fine_tune_assets.judging.judges.verifier.verifier_files import SHIPPED_FOLDER, WEIGHTS_FILE, is_bert_folder

    if base == ENCODER:
        return None
    folder = SHIPPED_FOLDER if base == SHIPPED else Path(base)
    if not (folder / WEIGHTS_FILE).is_file() and not is_bert_folder(folder):
        raise click.UsageError(
            f"--base: {folder} holds neither a verifier nor a BERT model with GELU (config.json, tokenizer.json, "
            "model.safetensors). Name such a folder, `shipped` or `encoder`."
        )
    return folder


def read_usable_labels(settings: Settings) -> list[tuple[StatementLabel, LabelledTexts]]:
    """The experts' labels with their texts, without texts in which a reviewer has marked an identifier since."""
    from fine_tune_assets.phi.missed_identifiers.missed_terms import has_any_term
    from fine_tune_assets.phi.spans.vocabulary import load_vocabulary
    from fine_tune_assets.recipes.loader import load_recipe

    vocabulary = load_vocabulary(load_recipe(settings.recipe).domain)
    with closing(open_ledger(settings)) as ledger:
        labels, terms = read_labelled_statements(ledger, ledger.key), read_missed_terms(ledger, ledger.key)
    return [
        (label, texts)
        for label, texts in labels
        if not has_any_term(f"{texts.shown}\n{texts.statement}", terms.get(label.subject_key, ()), vocabulary)
    ]


def _show(results: Sequence[dict[str, Any]], *, is_json: bool) -> None:
    show_rows(results, _HEADERS, is_json=is_json)


def _shown(bar: Bar) -> Progress:
    task = bar.add_task("Training", total=None)
    return lambda done, total, what: bar.update(task, completed=done, total=total, description=what)
