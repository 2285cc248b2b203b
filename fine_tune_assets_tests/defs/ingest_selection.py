"""The assets of an ingestion."""

INGEST = {
    "reports",
    "scrub_recall",
    "scrubbed_reports",
    "phi_spans",
    "unique_reports",
    "duplicate_reports",
    "model_drafts",
    "drafted_examples",
    "approved_examples",
    "general_examples",
    "instruction_sets",
    "scrubbed_corrections",
    "quarantined_corrections",
}
