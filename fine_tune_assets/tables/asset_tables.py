"""Maps every stored table to its record class, in the order of the stages."""

from collections.abc import Mapping

import pyarrow as pa

from fine_tune_assets.tables.approval_rows import (
    ApprovedExample,
    DraftedExample,
    ModelDraft,
    UndraftedReport,
    WithheldExample,
)
from fine_tune_assets.tables.correction_rows import (
    ProductionDrift,
    QuarantinedCorrection,
    ScrubbedCorrection,
    WithheldCorrection,
)
from fine_tune_assets.tables.dedup_rows import ConflictingReport, DuplicateReport, UncomparedReport, UniqueReport
from fine_tune_assets.tables.instruction_rows import GeneralExample, InstructionRow
from fine_tune_assets.tables.judging_rows import (
    AnswerCheck,
    DocumentAnswer,
    JudgeAgreement,
    JudgeScore,
    MemorizationResult,
    PromotionVerdict,
    RetainedAbility,
    RobustnessResult,
)
from fine_tune_assets.tables.merging_rows import BuiltRelease, MergedWeights, QuantizedWeights
from fine_tune_assets.tables.record_classes import Record
from fine_tune_assets.tables.report_rows import Report, ReportLanguage, UnreadableReport
from fine_tune_assets.tables.scrubbing_rows import (
    IdentifierValue,
    LabelledMiss,
    PhiSpan,
    PhiTagger,
    ScrubbedReport,
    ScrubRecall,
    WithheldReport,
)
from fine_tune_assets.tables.serving_rows import (
    KnowledgeChunk,
    KnowledgeIndex,
    ServedKnowledge,
    ServedModel,
    UnreadableDocument,
)
from fine_tune_assets.tables.training_rows import (
    Adapter,
    BaseModel,
    ExampleLength,
    TrainingPlan,
    TrainingPreflight,
)

RECORDS: Mapping[str, type[Record]] = {
    "reports": Report,
    "unreadable_reports": UnreadableReport,
    "report_languages": ReportLanguage,
    "phi_taggers": PhiTagger,
    "scrub_recall": ScrubRecall,
    "labelled_misses": LabelledMiss,
    "scrubbed_reports": ScrubbedReport,
    "phi_spans": PhiSpan,
    "withheld_reports": WithheldReport,
    "identifier_values": IdentifierValue,
    "unique_reports": UniqueReport,
    "duplicate_reports": DuplicateReport,
    "uncompared_reports": UncomparedReport,
    "conflicting_reports": ConflictingReport,
    "model_drafts": ModelDraft,
    "drafted_examples": DraftedExample,
    "undrafted_reports": UndraftedReport,
    "approved_examples": ApprovedExample,
    "withheld_examples": WithheldExample,
    "general_examples": GeneralExample,
    "instruction_sets": InstructionRow,
    "base_models": BaseModel,
    "example_lengths": ExampleLength,
    "training_preflights": TrainingPreflight,
    "training_plans": TrainingPlan,
    "adapters": Adapter,
    "judge_agreement": JudgeAgreement,
    "judge_scores": JudgeScore,
    "answer_checks": AnswerCheck,
    "retained_abilities": RetainedAbility,
    "robustness_results": RobustnessResult,
    "document_answers": DocumentAnswer,
    "memorization_results": MemorizationResult,
    "promotion_verdicts": PromotionVerdict,
    "merged_weights": MergedWeights,
    "quantized_weights": QuantizedWeights,
    "releases": BuiltRelease,
    "knowledge_chunks": KnowledgeChunk,
    "unreadable_documents": UnreadableDocument,
    "knowledge_indexes": KnowledgeIndex,
    "served_knowledge": ServedKnowledge,
    "served_models": ServedModel,
    "scrubbed_corrections": ScrubbedCorrection,
    "withheld_corrections": WithheldCorrection,
    "quarantined_corrections": QuarantinedCorrection,
    "production_drift": ProductionDrift,
}
AUXILIARY_TABLES: Mapping[str, str] = {
    "unreadable_reports": "reports",
    "report_languages": "reports",
    "labelled_misses": "scrub_recall",
    "withheld_reports": "scrubbed_reports",
    "identifier_values": "scrubbed_reports",
    "uncompared_reports": "unique_reports",
    "conflicting_reports": "unique_reports",
    "undrafted_reports": "drafted_examples",
    "withheld_examples": "approved_examples",
    "example_lengths": "training_plans",
    "training_preflights": "training_plans",
    "unreadable_documents": "knowledge_chunks",
    "withheld_corrections": "scrubbed_corrections",
}
"""Table → the asset whose step stores it. These tables are not assets of their own, so that the graph stays readable."""
TABLES: Mapping[str, pa.Schema] = {name: record.SCHEMA for name, record in RECORDS.items()}
