"""The sections of the recipe as external assets: a change in one runs only what reads it."""

import dagster as dg

from fine_tune_assets.defs.platform.metadata import OWNERS

SECTIONS = {
    "scrub": ("s02_scrubbed_reports", "how identifiers are found, and the share that must be found"),
    "tagger": ("s02_scrubbed_reports", "how a tagger of one's own is trained"),
    "dedup": (
        "s03_unique_reports",
        "from which similarity two reports, drafts or examples of two splits are the same",
    ),
    "tasks": ("s04_approved_examples", "how a report becomes instruction, input and draft output"),
    "trusted_sources": ("s04_approved_examples", "whose texts count as approved"),
    "review": ("s04_approved_examples", "how many people decide about an example, and how well they must agree"),
    "instructions": ("s05_instruction_sets", "system prompt, splits, and how much general data is mixed in"),
    "base_model": ("s06_adapters", "the base model and its folder"),
    "training": ("s06_adapters", "how an adapter is trained"),
    "checks": ("s07_judge_scores", "what an answer must look like, and how long it may be"),
    "abilities": ("s07_judge_scores", "how many general questions are asked, and what may be lost"),
    "robustness": ("s07_judge_scores", "how many inputs are tampered with"),
    "canaries": ("s07_judge_scores", "what is planted to measure how much a training learns by heart"),
    "judge": ("s07_judge_scores", "who judges, how many answers are graded, and how long they may be"),
    "gate": ("s07_judge_scores", "what a candidate must reach to be promoted, and the judge to decide"),
    "weights": ("s08_merged_weights", "the number format of merged weights, and how little merging may change"),
    "exports": ("s08_merged_weights", "the GGUF formats, and how little an export may change"),
    "corrections": ("s04_approved_examples", "which corrections are kept apart, and how much may be one author's"),
    "passages": ("s04_approved_examples", "whether and how passages stand before the question of a correction"),
    "drift": ("s10_corrections", "from where on requests are not like the training set any more"),
    "engine": ("s08_merged_weights", "the program that serves the model, and so what a release holds for it"),
    "retrieval": (
        "s08_merged_weights",
        "how a question and passages of documents become one prompt, and when one is relevant",
    ),
    "knowledge": ("s09_served_models", "how documents are cut into chunks, and how well questions must find them"),
}


def recipe_section(section: str) -> dg.AssetKey:
    """The external asset that stands for one section of the recipe: a change there runs only what reads it."""
    return dg.AssetKey(["recipe", section])


recipe_sections = [
    dg.AssetSpec(
        recipe_section(section),
        group_name=group,
        description=f"From the recipe: {decides}.",
        owners=OWNERS["ml"],
        kinds={"yaml"},
    )
    for section, (group, decides) in SECTIONS.items()
]
