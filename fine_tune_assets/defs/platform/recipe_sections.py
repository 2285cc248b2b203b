"""The sections of the recipe as external assets, so that a change in one triggers only the assets that read it."""

import dagster as dg

from fine_tune_assets.defs.platform.asset_keys import asset_key
from fine_tune_assets.defs.platform.metadata import OWNERS

GROUP = "recipe"
"""One group, so that the sections fold into a single node of the graph."""
SECTIONS = {
    "subjects": "whether reports without a subject are read, and the kinds of identifiers that the domain adds",
    "scrub": "how identifiers are found, and the minimum share to find",
    "tagger": "how a custom tagger is trained",
    "dedup": "the similarity from which two texts count as duplicates",
    "tasks": "how a report becomes instruction, input and draft output",
    "trusted_sources": "the sources whose texts count as approved",
    "review": "the number of reviewers per example, and their minimum agreement",
    "instructions": "the system prompt, the splits and the share of general data",
    "base_model": "the base model and its folder",
    "training": "how an adapter is trained",
    "checks": "the format and length of an acceptable answer",
    "abilities": "the number of general questions, and the maximum drop in accuracy",
    "robustness": "the number of inputs that are tampered with",
    "planted_secrets": "the secrets that are planted to measure memorization",
    "judge": "the judge, the number of graded answers and their maximum length",
    "gate": "the requirements for promoting a candidate and for qualifying the judge",
    "weights": "the number format of merged weights, and the limits for merging",
    "exports": "the export formats and their limits",
    "corrections": "the rules of quarantine, and the maximum share of one author",
    "passages": "whether and how passages precede the question of a correction",
    "drift": "the limits beyond which requests count as drifted",
    "engine": "the program that serves the model",
    "retrieval": "how a question and passages become a prompt, and when a passage is relevant",
    "knowledge": "how documents are split into chunks, and the minimum recall of the index",
}


def recipe_section(section: str) -> dg.AssetKey:
    """Key of the external asset that represents a section of the recipe."""
    return asset_key(f"recipe/{section}")


recipe_sections = [
    dg.AssetSpec(
        recipe_section(section),
        group_name=GROUP,
        description=f"From the recipe: {summary}.",
        owners=OWNERS["ml"],
        kinds={"yaml"},
    )
    for section, summary in SECTIONS.items()
]
