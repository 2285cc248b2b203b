"""Tables of stage 7: grades, checks, robustness, memorization and verdicts."""

from typing import Annotated

from fine_tune_assets.tables.common_columns import ExampleId, Passage, ProductLine, SubjectKey
from fine_tune_assets.tables.record_classes import Column, Record


class JudgeAgreement(Record):
    """Agreement of the judge with people, and with planted errors, on a labelled set."""

    labelled_set: Annotated[str, Column("Labelled set of rated answers or compared pairs")]
    human_measure: Annotated[
        str,
        Column(
            "Measure of the people; for pairs `majority`; `between_people`: agreement of people with each other; `planted_…`, "
            "`added_…` and `paraphrase`: labels that are known without people"
        ),
    ]
    answer_count: Annotated[int, Column("Answers that the judge graded")]
    spearman: Annotated[float | None, Column("Rank correlation of grade and human rating, -1 to 1")]
    spearman_low: Annotated[float | None, Column("Lower end of the 95 % bootstrap interval")]
    spearman_high: Annotated[float | None, Column("Upper end of the 95 % bootstrap interval")]
    judge_version: Annotated[str, Column("Fingerprint of the judge")]
    task: Annotated[str | None, Column("Task of the answers; absent for all tasks")]
    labelled_set_fingerprint: Annotated[str | None, Column("Fingerprint of the labelled answers")]
    ungraded_count: Annotated[int | None, Column("Answers that the judge could not grade")]
    excluded_training_count: Annotated[int | None, Column("Answers excluded because the judge was trained on them")]
    length_partial_correlation: Annotated[
        float | None, Column("Rank correlation of grade and length, given the human rating")
    ]
    human_length_correlation: Annotated[float | None, Column("Rank correlation of human rating and length")]
    repeat_agreement: Annotated[float | None, Column("Share of grades unchanged on repetition")]
    repeat_max_difference: Annotated[float | None, Column("Largest change of a grade on repetition")]
    human_threshold: Annotated[float | None, Column("Lowest human rating of an acceptable answer")]
    sensitivity: Annotated[float | None, Column("Share of acceptable answers that the judge accepts")]
    specificity: Annotated[float | None, Column("Share of unacceptable answers that the judge rejects")]
    calibration: Annotated[str | None, Column("Points of the monotonic map from grade to human rating, as JSON")]
    missing_reason: Annotated[str | None, Column("Why metrics are absent")]
    criterion: Annotated[str | None, Column("Criterion of the rubric; absent for the overall grade")]
    auroc: Annotated[
        float | None, Column("Probability that a right answer has a higher grade than one with this planted error")
    ]
    auroc_low: Annotated[float | None, Column("Lower end of the 95 % bootstrap interval")]
    auroc_high: Annotated[float | None, Column("Upper end of the 95 % bootstrap interval")]
    blind_auroc: Annotated[float | None, Column("The same with an unrelated record; 0.5 if the grade needs the record")]
    blind_auroc_high: Annotated[float | None, Column("Upper end of its 95 % bootstrap interval")]
    lowered_share: Annotated[
        float | None,
        Column("Share of right answers whose own grade falls with this planted error: the same text, before and after"),
    ]
    lowered_low: Annotated[float | None, Column("Lower end of its 95 % bootstrap interval")]
    raised_share: Annotated[
        float | None, Column("Share of right answers whose own grade rises with this planted error")
    ]
    raised_high: Annotated[float | None, Column("Upper end of its 95 % bootstrap interval")]
    graded_up_share: Annotated[float | None, Column("Share of answers whose grade a false statement raises")]
    graded_down_share: Annotated[float | None, Column("Share of true rewrites with a grade more than one point lower")]


class JudgeScore(Record):
    """A graded answer."""

    model: Annotated[str, Column("`base`, `adapter` or `incumbent`")]
    model_fingerprint: Annotated[str, Column("Fingerprint of the answering model")]
    adapter_id: Annotated[str, Column("Candidate of this comparison")]
    example_id: ExampleId
    subject_key: SubjectKey
    answer: Annotated[str, Column("The model's answer to scrubbed input", is_report_text=True)]
    score: Annotated[float | None, Column("Grade from 1 to 10; absent if not graded, never 0")]
    reason: Annotated[str, Column("Reason for the grade, or for its absence")]
    unsupported_numbers: Annotated[int, Column("Numbers in the answer that the input lacks")]
    is_finished: Annotated[bool, Column("True if the answer ended with the stop token")]
    judge_version: Annotated[str, Column("Fingerprint of the judge")]
    judge_kind: Annotated[str | None, Column("`verifier`, `statements` or `rubric`")]
    task: Annotated[str | None, Column("Task of the recipe that made the example")]
    criteria: Annotated[
        str | None,
        Column(
            "Score, reason and evidence per rubric criterion, as JSON; absent without any",
            is_report_text=True,
        ),
    ]
    statements: Annotated[
        str | None,
        Column(
            "Checked statements with criterion, support, probability, evidence and veto, as JSON; absent without any",
            is_report_text=True,
        ),
    ]


class AnswerCheck(Record):
    """The result of a deterministic check of an answer."""

    model: Annotated[str, Column("`base`, `adapter` or `incumbent`")]
    model_fingerprint: Annotated[str, Column("Fingerprint of the answering model")]
    adapter_id: Annotated[str, Column("Candidate of this comparison")]
    example_id: ExampleId
    subject_key: SubjectKey
    check: Annotated[
        str,
        Column(
            "`numbers`, `units`, `dates`, `sides`, `negations`, `medications`, `format`, `finished`, `length` or `readable`"
        ),
    ]
    is_passed: Annotated[bool | None, Column("Whether the answer passes; absent if the check does not apply")]
    violation_count: Annotated[int, Column("Number of unsupported statements or format errors; never text")]


class RetainedAbility(Record):
    """Accuracy of a candidate and its base model on general questions."""

    ability: Annotated[str, Column("General task excluded from training")]
    adapter_id: Annotated[str, Column("The candidate")]
    question_count: Annotated[int, Column("Questions")]
    base_accuracy: Annotated[float, Column("Share of correct answers of the base model")]
    adapter_accuracy: Annotated[float, Column("Share of correct answers of the candidate")]
    low: Annotated[float, Column("Lower end of the 95 % interval of the difference (Tango 1998)")]
    high: Annotated[float, Column("Upper end of the 95 % interval of the difference")]
    base_only_correct: Annotated[int, Column("Questions that only the base model answers correctly")]
    adapter_only_correct: Annotated[int, Column("Questions that only the candidate answers correctly")]
    max_accuracy_drop: Annotated[float | None, Column("Allowed loss of accuracy on this task at the time")]


class RobustnessResult(Record):
    """Robustness of a candidate and its base model in one robustness case."""

    case: Annotated[str, Column("Robustness case: the change to the input, or the input sent")]
    adapter_id: Annotated[str, Column("The candidate")]
    input_count: Annotated[int, Column("Inputs")]
    passed_count: Annotated[int, Column("Inputs that the candidate refused, or answered as if unchanged")]
    base_passed_count: Annotated[int, Column("Inputs that the base model refused, or answered as if unchanged")]
    base_only_passed_count: Annotated[int, Column("Inputs that only the base model passed")]
    candidate_only_passed_count: Annotated[int, Column("Inputs that only the candidate passed")]


class DocumentQuestion(Record):
    """A labelled question with the passages that the compared models receive."""

    question_id: str
    document: str
    """Document that answers the question."""
    question: str
    passages: tuple[Passage, ...]
    """In the order of the prompt."""
    answering: tuple[int, ...]
    """Numbers of the passages that answer the question, from 1; empty if none does."""


class DocumentAnswer(Record):
    """A model's answer to a labelled question, from passages of documents."""

    model: Annotated[str, Column("`base`, `adapter` or `incumbent`")]
    model_fingerprint: Annotated[str, Column("Fingerprint of the answering model")]
    adapter_id: Annotated[str, Column("Candidate of this comparison")]
    question_id: Annotated[str, Column("Fingerprint of the question")]
    document: Annotated[str, Column("Document that answers the question")]
    is_answerable: Annotated[bool, Column("Whether one of the passages answers the question")]
    answer: Annotated[str, Column("The model's answer", is_report_text=True)]
    is_finished: Annotated[bool, Column("True if the answer ended with the stop token")]
    is_refusal: Annotated[bool, Column("Whether the answer says that the documents do not hold the answer")]
    is_cited: Annotated[
        bool, Column("Whether the answer cites a passage that answers the question, and none that does not exist")
    ]
    is_grounded: Annotated[
        bool | None, Column("Whether the passages support every statement; absent if the statements were not read")
    ]
    unsupported_statements: Annotated[int | None, Column("Statements that no passage supports, as the reader finds")]
    unsupported_claims: Annotated[
        int, Column("Unsupported numbers, units, dates, medicines and names, as in production")
    ]
    reader: Annotated[str, Column("Fingerprint of the reader of the statements")]
    missing_reason: Annotated[str, Column("Why the statements were not read; empty if they were")]


class MemorizationResult(Record):
    """The result of a memorization test."""

    test: Annotated[str, Column("Memorization test; `planted_secrets_1` is read once per epoch")]
    adapter_id: Annotated[str, Column("The candidate")]
    is_gating: Annotated[bool, Column("True if a leak refuses the candidate; others are informative")]
    item_count: Annotated[int, Column("Tested planted secrets, identifiers or answers")]
    extracted_count: Annotated[int | None, Column("Items that leaked; absent if not measured")]
    p_value: Annotated[
        float | None, Column("Rank-sum test of planted secrets against controls; absent for other tests")
    ]
    is_clean: Annotated[bool, Column("True if nothing leaked")]
    reason: Annotated[str, Column("The result in words; counts and kinds only")]
    repeat_count: Annotated[int | None, Column("Repetitions of a planted secret in training; absent for other tests")]
    control_count: Annotated[int | None, Column("Control secrets that were not trained on")]
    exposure: Annotated[float | None, Column("Mean exposure of planted secrets in bits; 1.4 by chance")]
    significance_level: Annotated[
        float | None, Column("p-value below which the difference from controls is significant")
    ]
    shadow_fingerprint: Annotated[str | None, Column("Fingerprint of the tested shadow adapter's inputs")]


class PromotionVerdict(Record):
    """A verdict on a candidate."""

    verdict_id: Annotated[str, Column("Fingerprint of the verdict and its evidence")]
    decision: Annotated[str, Column("`promote`, `hold` or `refuse`")]
    line: ProductLine
    adapter_id: Annotated[str, Column("The candidate")]
    base_fingerprint: Annotated[str, Column("Fingerprint of the base model")]
    instruction_set_fingerprint: Annotated[str, Column("Fingerprint of the instruction set for training and testing")]
    incumbent_fingerprint: Annotated[str, Column("Fingerprint of the compared model")]
    reasons: Annotated[tuple[str, ...], Column("Every reason, in words")]
    example_count: Annotated[int, Column("Test examples graded for both models")]
    incumbent_score: Annotated[float | None, Column("Mean grade of the incumbent")]
    candidate_score: Annotated[float | None, Column("Mean grade of the candidate")]
    gain_low: Annotated[float | None, Column("Lower end of the 95 % interval of the mean difference")]
    gain_high: Annotated[float | None, Column("Upper end of the 95 % interval of the mean difference")]
