"""The model card of a release, with the front matter that Hugging Face reads.

Owns what people are told about the model, and its limits. Everything is taken from the release's own evidence: what is missing
there is called so here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from fine_tune_assets.merging.card_tables import MISSING, Row, cell, figures, removed_identifiers, table
from fine_tune_assets.merging.parity_certificate import shown_hops

CARD = "README.md"
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


@dataclass(frozen=True)
class ModelFacts:
    """What a card is made of. The documents are those of the release's `evidence` folder."""

    recipe: Row
    base: Row
    """Of BASE_MODELS."""
    adapter: Row
    """Of ADAPTERS."""
    engine: str
    served_format: str
    counts: Mapping[str, int]
    """Split → examples, and how many of them are general."""
    verdict: Row
    """The signed document."""
    signers: tuple[str, ...]
    scrub: Row
    leakage: Row
    judge: Row
    parity: Row

    @property
    def figures(self) -> list[Row]:
        return list(self.verdict["evidence"].get("figures", []))


def model_card(facts: ModelFacts) -> str:
    sections = "\n\n".join(f"## {title}\n\n{text}" for title, text in _sections(facts))
    head = yaml.safe_dump(_front_matter(facts), sort_keys=False, allow_unicode=True)
    title = f"{facts.recipe['name']}: {facts.base['name']}, fine-tuned"
    return f"---\n{head}---\n\n# {title}\n\n{facts.recipe['description']}\n\n{sections}\n"


def _front_matter(facts: ModelFacts) -> dict[str, Any]:
    licence = facts.base["licence"]
    known = licence.lower() in _HUB_LICENCES
    return {
        "language": ["en"],
        "license": licence.lower() if known else "other",
        **({} if known else {"license_name": licence}),
        "library_name": "transformers" if facts.engine == "vllm" else "gguf",
        "pipeline_tag": "text-generation",
        "base_model": facts.base["name"],
        "base_model_relation": "finetune",
        "tags": ["fine_tune_assets", facts.adapter["method"], facts.served_format],
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
            ("base model", f"{base['name']} ({base['architecture']}, {base['parameters']} weights)"),
            ("its licence", base["licence"]),
            ("its source", base["source"]),
            ("training", f"{adapter['method']}, {adapter['rows_trained']} examples, {adapter['steps']} steps"),
            (
                "loss on validation",
                f"{cell(adapter['first_validation_loss'])} before, {cell(adapter['best_validation_loss'])} after",
            ),
            ("instruction set", f"{adapter['instruction_set_fingerprint'][:16]}: {sizes} examples"),
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
