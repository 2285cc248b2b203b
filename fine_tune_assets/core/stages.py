"""The ten stages of the pipeline in order: asset groups and their titles."""

from collections.abc import Mapping
from types import MappingProxyType

STAGES: Mapping[str, str] = MappingProxyType(
    {
        "s01_raw_reports": "Raw reports",
        "s02_scrubbed_reports": "Scrubbed reports",
        "s03_unique_reports": "Unique reports",
        "s04_approved_examples": "Approved examples",
        "s05_instruction_sets": "Instruction sets",
        "s06_adapters": "Adapters",
        "s07_judge_scores": "Judge scores",
        "s08_merged_weights": "Merged weights",
        "s09_served_models": "Served models",
        "s10_corrections": "Corrections",
    }
)
"""Asset group → title."""
