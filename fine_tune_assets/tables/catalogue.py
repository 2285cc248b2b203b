"""Every table asset and the record that a row of it is, in the order of the stages."""

from collections.abc import Mapping

import pyarrow as pa

from fine_tune_assets.tables.approval import ApprovedExample, DraftedExample, ModelDraft
from fine_tune_assets.tables.corrections import ProductionDrift, QuarantinedCorrection, ScrubbedCorrection
from fine_tune_assets.tables.dedup import DuplicateReport, UniqueReport
from fine_tune_assets.tables.instructions import GeneralExample, InstructionRow
from fine_tune_assets.tables.judging import (
    AnswerCheck,
    JudgeAgreement,
    JudgeScore,
    MemorizationProbe,
    PromotionVerdict,
    RetainedAbility,
    RobustnessProbe,
)
from fine_tune_assets.tables.merging import BuiltRelease, MergedWeights, QuantizedWeights
from fine_tune_assets.tables.phi import HeldReport, IdentifierValue, PhiSpan, PhiTagger, ScrubbedReport, ScrubRecall
from fine_tune_assets.tables.records import Record
from fine_tune_assets.tables.reports import Report, UnreadableReport
from fine_tune_assets.tables.serving import (
    KnowledgeChunk,
    KnowledgeIndex,
    ServedKnowledge,
    ServedModel,
    UnreadableDocument,
)
from fine_tune_assets.tables.training import (
    Adapter,
    BaseModel,
    ExampleLength,
    SweepTrial,
    TrainingPlan,
    TrainingPreflight,
)

RECORDS: Mapping[str, type[Record]] = {
    "reports": Report,
    "unreadable_reports": UnreadableReport,
    "phi_taggers": PhiTagger,
    "scrub_recall": ScrubRecall,
    "scrubbed_reports": ScrubbedReport,
    "phi_spans": PhiSpan,
    "held_reports": HeldReport,
    "identifier_values": IdentifierValue,
    "unique_reports": UniqueReport,
    "duplicate_reports": DuplicateReport,
    "model_drafts": ModelDraft,
    "drafted_examples": DraftedExample,
    "approved_examples": ApprovedExample,
    "general_examples": GeneralExample,
    "instruction_sets": InstructionRow,
    "base_models": BaseModel,
    "example_lengths": ExampleLength,
    "training_preflights": TrainingPreflight,
    "training_plans": TrainingPlan,
    "adapters": Adapter,
    "sweep_trials": SweepTrial,
    "judge_agreement": JudgeAgreement,
    "judge_scores": JudgeScore,
    "answer_checks": AnswerCheck,
    "retained_abilities": RetainedAbility,
    "robustness_probes": RobustnessProbe,
    "memorization_probes": MemorizationProbe,
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
    "quarantined_corrections": QuarantinedCorrection,
    "production_drift": ProductionDrift,
}
TABLES: Mapping[str, pa.Schema] = {name: record.SCHEMA for name, record in RECORDS.items()}
