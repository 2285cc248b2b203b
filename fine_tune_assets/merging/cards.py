"""Writes a release's model card, with Hugging Face front matter, and its data card.

All content comes from the release's evidence; missing measurements are named as such. The release excludes the training data.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from fine_tune_assets.core.serving_engines import reads_folder
from fine_tune_assets.merging.certificates import hop_rows
from fine_tune_assets.recipes.export_settings import LORA, LORA_SAFETENSORS
from fine_tune_assets.tables.training_rows import Adapter, BaseModel

MODEL_CARD, DATA_CARD = "README.md", "DATASET_CARD.md"
NOT_MEASURED = "not measured"
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
class ModelCardFacts:
    """The content of a model card. Documents are those in the release's `evidence` folder."""

    recipe: Document
    base: BaseModel
    adapter: Adapter
    engine: str
    served_format: str
    counts: Mapping[str, int]
    """Split → number of examples; `general` counts the general data."""
    verdict: Document
    """The signed verdict."""
    signers: tuple[str, ...]
    scrub: Document
    leakage: Document
    judge: Document
    parity: Document

    @property
    def metrics(self) -> list[Document]:
        return list(self.verdict["evidence"].get("metrics", []))


def model_card(facts: ModelCardFacts) -> str:
    sections = "\n\n".join(f"## {title}\n\n{text}" for title, text in _sections(facts))
    head = yaml.safe_dump(_front_matter(facts), sort_keys=False, allow_unicode=True)
    title = f"{facts.recipe['name']}: {facts.base.name}, fine-tuned"
    return f"---\n{head}---\n\n# {title}\n\n{facts.recipe['description']}\n\n{sections}\n"


def _front_matter(facts: ModelCardFacts) -> dict[str, Any]:
    licence = facts.base.licence
    known = licence.lower() in _HUB_LICENCES
    return {
        "language": ["en"],
        "license": licence.lower() if known else "other",
        **({} if known else {"license_name": licence}),
        "library_name": _name_library(facts),
        "pipeline_tag": "text-generation",
        "base_model": facts.base.name,
        "base_model_relation": "adapter" if facts.served_format in (LORA, LORA_SAFETENSORS) else "finetune",
        "tags": ["fine_tune_assets", facts.adapter.method, facts.served_format],
    }


def _name_library(facts: ModelCardFacts) -> str:
    if facts.served_format == LORA_SAFETENSORS:
        return "peft"
    return "transformers" if reads_folder(facts.engine) else "gguf"


def _sections(facts: ModelCardFacts) -> Iterator[tuple[str, str]]:
    yield "Intended use", _intended_use(facts)
    yield "Training", _training_details(facts)
    yield "De-identification", _identifiers(facts)
    yield "Judge", _judge(facts)
    yield "Verdict", _verdict(facts)
    yield "Answer checks and robustness", _other_metrics(facts)
    yield "General abilities", metrics_table(facts.metrics, "abilities")
    yield "Memorization", _memorization(facts)
    yield "Parity of judged and served model", _parity(facts)
    yield "Limitations", "\n".join(f"- {limit}" for limit in _limitations(facts))
    yield "Verification", _verification()


def _intended_use(facts: ModelCardFacts) -> str:
    tasks = ", ".join(f"`{task['name']}`" for task in facts.recipe["tasks"])
    return (
        f"Drafts texts for staff of the organization that it was trained for; a person checks each draft. Tasks: {tasks}. "
        "Not for decisions without human review, other tasks, other languages, or use outside the organization. "
        "It is not a medical device and gives no legal or financial advice."
    )


def _training_details(facts: ModelCardFacts) -> str:
    base, adapter = facts.base, facts.adapter
    general = facts.counts.get("general")
    sizes = ", ".join(f"{count} {split}" for split, count in facts.counts.items() if split != "general")
    return markdown_table(
        ("", ""),
        (
            ("base model", f"{base.name} ({base.architecture}, {base.parameter_count} weights)"),
            ("base model licence", base.licence),
            ("base model source", base.source),
            ("training", f"{adapter.method}, {adapter.trained_row_count} examples, {adapter.steps} steps"),
            (
                "validation loss",
                f"{cell(adapter.first_validation_loss)} before, {cell(adapter.best_validation_loss)} after",
            ),
            ("instruction set", f"{adapter.instruction_set_fingerprint[:16]}: {sizes} examples"),
            ("general data", general),
            ("served as", f"{facts.served_format} by {facts.engine}"),
        ),
    ) + (
        f"\n\nData: `DATASET_CARD.md`. Settings: `recipe.yaml`. Packages: `sbom.cdx.json`.\n\n"
        f"**Separation of splits.** {facts.leakage['summary'] or NOT_MEASURED}"
    )


def _identifiers(facts: ModelCardFacts) -> str:
    return (
        "Reports were scrubbed before examples were drafted. Recall on labelled texts, ignoring identifiers that reports state "
        f"in their metadata:\n\n{scrub_recall_table(facts.scrub)}"
    )


def _judge(facts: ModelCardFacts) -> str:
    judge = facts.judge["judge"] or {}
    qualification = (
        "The judge is qualified."
        if judge.get("is_qualified")
        else f"The judge is not qualified. {judge.get('failure_reason', NOT_MEASURED)}"
    )
    return (
        f"Judge: {judge.get('kind', NOT_MEASURED)}. Lowest rank correlation with human grades: "
        f"{cell(judge.get('agreement'))}; "
        f"required: {cell(judge.get('floor'))}. {qualification} Details: `evidence/judge_qualification.json`."
    )


def _verdict(facts: ModelCardFacts) -> str:
    verdict = facts.verdict
    signed = f" Signed by {', '.join(facts.signers)}." if facts.signers else ""
    reasons = "\n".join(f"- {reason}" for reason in verdict["reasons"])
    return (
        f"**{verdict['decision']}** (`{verdict['verdict_id']}`).{signed}\n\n{reasons}\n\n"
        f"Grades (1 to 10) on held-out examples, by task:\n\n{standings_table(facts.metrics)}\n\n"
        f"All tasks together:\n\n{metrics_table(facts.metrics, 'target')}"
    )


def _other_metrics(facts: ModelCardFacts) -> str:
    names = {"checks": "Answer checks", "robustness": "Robustness"}
    if any(row.get("family") == "documents" for row in facts.metrics):
        names["documents"] = "Answers from documents"
    return "\n\n".join(f"{title}:\n\n{metrics_table(facts.metrics, family)}" for family, title in names.items())


def _memorization(facts: ModelCardFacts) -> str:
    return f"Share of extraction attempts that succeeded (0 is best):\n\n{metrics_table(facts.metrics, 'safety')}"


def _parity(facts: ModelCardFacts) -> str:
    rows = hop_rows(facts.parity)
    return f"{markdown_table(('hop', 'metric', 'measured', 'limit'), rows)}\n\nFull record: `evidence/parity.json`."


def _limitations(facts: ModelCardFacts) -> Iterator[str]:
    yield "The model can hallucinate, like every language model. Treat each answer as a draft."
    yield "Trained and tested on English reports of one organization. Performance elsewhere is unknown."
    yield "Scrubbing may miss identifiers, and they can't be removed from weights. Treat the model as confidential."
    judge = facts.judge["judge"] or {}
    if not judge.get("is_qualified"):
        yield "The judge is not qualified: its grades are informative only, and an approver took responsibility for the release."
    gated = [row for row in facts.metrics if row.get("margin") is not None]
    unknown = sum(row.get("outcome") == "unknown" for row in gated)
    if unknown:
        yield f"{unknown} of {len(gated)} gated metrics are inconclusive with the available examples."
    if facts.scrub["missing_reason"]:
        yield facts.scrub["missing_reason"]


def _verification() -> str:
    return (
        "`fine-tune releases verify FOLDER --public-key releases.pub` verifies every file, the signature and the verdict, "
        "offline, with this folder and the key. With the OpenSSF tool: `model_signing verify key --signature "
        "FOLDER/release.sig --public_key releases.pub FOLDER`."
    )


def data_card(set_card: str, scrub: Document, leakage: Document) -> str:
    """Extend the instruction set's card `set_card` with scrubbing and leakage results."""
    search_description = leakage["metrics"].get("search_description")
    searched = f"Searched for: {search_description}." if search_description else ""
    return (
        f"{set_card.rstrip()}\n\n## Identifiers removed\n\n"
        f"Recall on labelled texts:\n\n{scrub_recall_table(scrub)}\n\n"
        "Results by kind of identifier, and overmasking: `evidence/scrub_certificate.json`.\n\n"
        f"## Separation of splits\n\nFull record: `evidence/leakage_certificate.json`. {searched}\n\n"
        "## Limitations\n\n"
        "The examples come from one organization and may not represent others. They are as correct as their approvals. "
        "The data is not part of the release and does not leave the organization.\n"
    )


def markdown_table(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Format a Markdown table; `None.` if `rows` is empty."""
    lines = ["| " + " | ".join(cell(value) for value in row) + " |" for row in rows]
    return "\n".join(["| " + " | ".join(names) + " |", "|" + " --- |" * len(names), *lines]) if lines else "None."


def cell(value: Any) -> str:
    if value is None:
        return NOT_MEASURED
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def interval(low: float | None, high: float | None) -> str:
    return NOT_MEASURED if low is None or high is None else f"{low:.4g} to {high:.4g}"


def metrics_table(rows: Sequence[Document], family: str) -> str:
    """Table of a metric family of the verdict, with 95 % intervals."""
    names = ("", "candidate", "compared with", "difference", "95 % interval", "items", "allowed loss", "outcome")
    return markdown_table(
        names,
        (
            (
                row.get("name"),
                row.get("candidate"),
                row.get("incumbent"),
                row.get("difference"),
                interval(row.get("low"), row.get("high")),
                row.get("items"),
                "" if family == "target" or row.get("margin") is None else row["margin"],
                f"{row.get('outcome')}{': ' if row.get('reason') else ''}{row.get('reason') or ''}",
            )
            for row in rows
            if row.get("family") == family
        ),
    )


def standings_table(rows: Sequence[Document]) -> str:
    """Each task and subgroup of the verdict: better, no worse, worse or not tested."""
    names = (
        "task or group",
        "standing",
        "examples",
        "compared with",
        "candidate",
        "difference",
        "95 % interval",
        "limit",
    )
    columns = ("name", "standing", "items", "incumbent", "candidate", "difference")
    shown = [row for family in ("tasks", "subgroups") for row in rows if row.get("family") == family]
    return markdown_table(
        names,
        (
            (*(row.get(name) for name in columns), interval(row.get("low"), row.get("high")), row.get("margin"))
            for row in shown
        ),
    )


def task_standings(rows: Sequence[Document]) -> list[dict[str, Any]]:
    """Name, standing and number of test examples of each task of the verdict."""
    return [{name: row[name] for name in ("name", "standing", "items")} for row in rows if row["family"] == "tasks"]


def scrub_recall_table(scrub: Document) -> str:
    """Table of the scrubber's recall on labelled identifiers, from the scrub certificate."""
    recall = [
        row
        for row in scrub["measures"]
        if row["measure"] == "masked_recall"
        and row["label"] in ("all", "direct")
        and row["labelled_set"] != scrub["missed_set"]
    ]
    shown = markdown_table(
        ("labelled set", "identifiers", "removed", "share", "95 % interval"),
        (
            (
                row["labelled_set"],
                row["label"],
                f"{row['hits']} of {row['total']}",
                row["value"],
                interval(row["low"], row["high"]),
            )
            for row in recall
        ),
    )
    floors = ", ".join(f"{name} {floor:.4g}" for name, floor in sorted(scrub["floors"].items()))
    return f"{shown}\n\nFloors of the recipe: {floors}. {scrub['missing_reason']}".rstrip()
