"""The cards of a release: of the model, with the front matter that Hugging Face reads, and of the data that it learned from.

Owns what people are told, and the limits. Everything is taken from the release's own evidence: what is missing there is called so
here. The data itself is not in the release.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from fine_tune_assets.core.serving_engines import reads_folder
from fine_tune_assets.merging.certificates import shown_hops
from fine_tune_assets.tables.training import Adapter, BaseModel

MODEL_CARD, DATA_CARD = "README.md", "DATASET_CARD.md"
MISSING = "not measured"
_HUB_LICENCES = (
    "apache-2.0",
    "mit",
    "bsd-3-clause",
    "llama3",
    "llama3.1",
    "llama3.2",
    "gemma",
    "cc-by-4.0",
    "cc-by-sa-4.0",
)
Document = Mapping[str, Any]


@dataclass(frozen=True)
class ModelFacts:
    """What a card is made of. The documents are those of the release's `evidence` folder."""

    recipe: Document
    base: BaseModel
    adapter: Adapter
    engine: str
    served_format: str
    counts: Mapping[str, int]
    """Split → examples, and how many of them are general."""
    verdict: Document
    """The signed document."""
    signers: tuple[str, ...]
    scrub: Document
    leakage: Document
    judge: Document
    parity: Document

    @property
    def figures(self) -> list[Document]:
        return list(self.verdict["evidence"].get("figures", []))


def model_card(facts: ModelFacts) -> str:
    sections = "\n\n".join(f"## {title}\n\n{text}" for title, text in _sections(facts))
    head = yaml.safe_dump(_front_matter(facts), sort_keys=False, allow_unicode=True)
    title = f"{facts.recipe['name']}: {facts.base.name}, fine-tuned"
    return f"---\n{head}---\n\n# {title}\n\n{facts.recipe['description']}\n\n{sections}\n"


def _front_matter(facts: ModelFacts) -> dict[str, Any]:
    licence = facts.base.licence
    known = licence.lower() in _HUB_LICENCES
    return {
        "language": ["en"],
        "license": licence.lower() if known else "other",
        **({} if known else {"license_name": licence}),
        "library_name": "transformers" if reads_folder(facts.engine) else "gguf",
        "pipeline_tag": "text-generation",
        "base_model": facts.base.name,
        "base_model_relation": "finetune",
        "tags": ["fine_tune_assets", facts.adapter.method, facts.served_format],
    }


def _sections(facts: ModelFacts) -> Iterator[tuple[str, str]]:
    yield "What it is for", _intended(facts)
    yield "What it was made of", _origin(facts)
    yield "Identifiers of patients", _identifiers(facts)
    yield "Who judged it", _judge(facts)
    yield "The verdict", _verdict(facts)
    yield "Checks, groups of examples, and disturbed inputs", _others(facts)
    yield "General abilities", figures(facts.figures, "abilities")
    yield "What it learned by heart", _memory(facts)
    yield "Parity: what was judged is what is served", _parity(facts)
    yield "Known limits", "\n".join(f"- {limit}" for limit in _limits(facts))
    yield "Proving it", _proving()


def _intended(facts: ModelFacts) -> str:
    tasks = ", ".join(f"`{task['name']}`" for task in facts.recipe["tasks"])
    return (
        f"Drafts for people of the organisation whose reports it learned from, who check each before it is used. Tasks: {tasks}. "
        "Not for decisions without a person, not for other tasks or languages, and not for anybody outside of the organisation. "
        "It is not a medical device."
    )


def _origin(facts: ModelFacts) -> str:
    base, adapter = facts.base, facts.adapter
    general = facts.counts.get("general")
    sizes = ", ".join(f"{count} {split}" for split, count in facts.counts.items() if split != "general")
    return table(
        ("", ""),
        (
            ("base model", f"{base.name} ({base.architecture}, {base.parameters} weights)"),
            ("its licence", base.licence),
            ("its source", base.source),
            ("training", f"{adapter.method}, {adapter.rows_trained} examples, {adapter.steps} steps"),
            (
                "loss on validation",
                f"{cell(adapter.first_validation_loss)} before, {cell(adapter.best_validation_loss)} after",
            ),
            ("instruction set", f"{adapter.instruction_set_fingerprint[:16]}: {sizes} examples"),
            ("of these general", general),
            ("served as", f"{facts.served_format} by {facts.engine}"),
        ),
    ) + (
        f"\n\nMore about the data: `DATASET_CARD.md`. Settings: `recipe.yaml`. Packages: `sbom.cdx.json`.\n\n"
        f"**Training and test.** {facts.leakage['paragraph'] or MISSING}"
    )


def _identifiers(facts: ModelFacts) -> str:
    return (
        "Reports were scrubbed before anybody drafted an example of them. Measured on labelled texts, without what reports state "
        f"about themselves:\n\n{removed_identifiers(facts.scrub)}"
    )


def _judge(facts: ModelFacts) -> str:
    judge = facts.judge["judge"] or {}
    may = "It may decide." if judge.get("licensed") else f"It may not decide. {judge.get('why_not', MISSING)}"
    return (
        f"Judge: {judge.get('kind', MISSING)}. Lowest rank correlation with people's ratings: {cell(judge.get('agreement'))}; "
        f"asked for: {cell(judge.get('floor'))}. {may} Details: `evidence/judge_licence.json`."
    )


def _verdict(facts: ModelFacts) -> str:
    verdict = facts.verdict
    signed = f" Signed by {', '.join(facts.signers)}." if facts.signers else ""
    reasons = "\n".join(f"- {reason}" for reason in verdict["reasons"])
    return (
        f"**{verdict['decision']}** (`{verdict['verdict_id']}`).{signed}\n\n{reasons}\n\n"
        f"Grades from 1 to 10 on held-out examples:\n\n{figures(facts.figures, 'target')}"
    )


def _others(facts: ModelFacts) -> str:
    names = {"checks": "Checks of answers", "subgroups": "Groups of examples", "robustness": "Disturbed inputs"}
    return "\n\n".join(f"{title}:\n\n{figures(facts.figures, family)}" for family, title in names.items())


def _memory(facts: ModelFacts) -> str:
    return f"Share of what was tried that gave something away (0 is best):\n\n{figures(facts.figures, 'safety')}"


def _parity(facts: ModelFacts) -> str:
    rows = shown_hops(facts.parity)
    return f"{table(('hop', 'figure', 'measured', 'limit'), rows)}\n\nEverything: `evidence/parity.json`."


def _limits(facts: ModelFacts) -> Iterator[str]:
    yield "It makes things up, as every language model does: each answer is a draft."
    yield "It learned from reports of one organisation, in English, and was tested on such. Elsewhere nothing is known."
    yield "A scrubber does not find everything, and weights can't be cleaned afterwards: treat the model as confidential."
    judge = facts.judge["judge"] or {}
    if not judge.get("licensed"):
        yield "The judge has no licence: its grades inform, and an approver took the responsibility."
    elif judge.get("kind") == "offline":
        yield "The judge is the small one that comes with the package: how well it agrees with people stands above."
    asked = [row for row in facts.figures if row.get("margin") is not None]
    unknown = sum(row.get("outcome") == "unknown" for row in asked)
    if unknown:
        yield f"{unknown} of {len(asked)} figures that were asked for could not be told, with the examples that there were."
    if facts.scrub["why_not"]:
        yield facts.scrub["why_not"]


def _proving() -> str:
    return (
        "`fine-tune verify FOLDER --public-key releases.pub` proves every file, the signature and the verdict, on a machine that "
        "has nothing but this folder and the key. Or, with the OpenSSF's tool: `model_signing verify key --signature "
        "FOLDER/release.sig --public_key releases.pub FOLDER`."
    )


def data_card(card_of_set: str, scrub: Document, leakage: Document) -> str:
    """The card of the instruction set, and how the data was cleaned. `card_of_set`: what lies beside the set."""
    looked_for = leakage["figures"].get("looked_for")
    looked = f"Looked for: {looked_for}." if looked_for else ""
    return (
        f"{card_of_set.rstrip()}\n\n## Identifiers removed\n\n"
        f"Measured on labelled texts:\n\n{removed_identifiers(scrub)}\n\n"
        "Each kind of identifier, and how many other words were removed: `evidence/scrub_certificate.json`.\n\n"
        f"## Training and test\n\nEvery figure: `evidence/leakage_certificate.json`. {looked}\n\n"
        "## Limits\n\n"
        "The examples come from one organisation and say little about others. They are as right as who approved them. The data "
        "itself is not part of the release and does not leave the organisation.\n"
    )


def table(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table; one sentence where there is no row."""
    lines = ["| " + " | ".join(cell(value) for value in row) + " |" for row in rows]
    return "\n".join(["| " + " | ".join(names) + " |", "|" + " --- |" * len(names), *lines]) if lines else "None."


def cell(value: Any) -> str:
    if value is None:
        return MISSING
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def between(low: float | None, high: float | None) -> str:
    return MISSING if low is None or high is None else f"{low:.4g} to {high:.4g}"


def figures(rows: Sequence[Document], family: str) -> str:
    """The figures of a family of the verdict, with their 95 % intervals."""
    names = ("", "candidate", "compared with", "difference", "95 % interval", "items", "may lose", "outcome")
    return table(
        names,
        (
            (
                row.get("name"),
                row.get("candidate"),
                row.get("incumbent"),
                row.get("difference"),
                between(row.get("low"), row.get("high")),
                row.get("items"),
                "" if family == "target" or row.get("margin") is None else row["margin"],
                f"{row.get('outcome')}{': ' if row.get('why') else ''}{row.get('why') or ''}",
            )
            for row in rows
            if row.get("family") == family
        ),
    )


def removed_identifiers(scrub: Document) -> str:
    """How many of the labelled identifiers the scrubber removed, from the scrub certificate."""
    recall = [
        row
        for row in scrub["measures"]
        if row["measure"] == "masked_recall"
        and row["label"] in ("all", "direct")
        and row["labelled_set"] != scrub["misses_only"]
    ]
    shown = table(
        ("labelled set", "identifiers", "removed", "share", "95 % interval"),
        (
            (
                row["labelled_set"],
                row["label"],
                f"{row['hits']} of {row['total']}",
                row["value"],
                between(row["low"], row["high"]),
            )
            for row in recall
        ),
    )
    floors = ", ".join(f"{name} {floor:.4g}" for name, floor in sorted(scrub["floors"].items()))
    return f"{shown}\n\nThe recipe demands at least: {floors}. {scrub['why_not']}".rstrip()
