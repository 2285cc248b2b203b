"""Tables of stage 7: grades, checks, probes and verdicts."""

from typing import Annotated

from fine_tune_assets.tables.columns_in_common import ExampleId, Line, PatientKey
from fine_tune_assets.tables.records import Column, Record


class JudgeAgreement(Record):
    """How well the judge agrees with people."""

    labelled_set: Annotated[str, Column("Answers that people rated, or pairs of which they chose one")]
    human_measure: Annotated[str, Column("What the people rated; of pairs, `majority`: what most of them preferred")]
    answers: Annotated[int, Column("Rated answers, or pairs, that the judge graded")]
    spearman: Annotated[float | None, Column("Rank correlation of the judge's grade with the human rating, -1 to 1")]
    low: Annotated[float | None, Column("Lower end of the 95 % bootstrap interval")]
    high: Annotated[float | None, Column("Upper end of the 95 % bootstrap interval")]
    judge_version: Annotated[str, Column("Fingerprint of the judge that was measured")]
    task: Annotated[str | None, Column("Task of the answers; absent if they stand for every task")]
    set_fingerprint: Annotated[str | None, Column("Fingerprint of the labelled answers")]
    missing: Annotated[int | None, Column("Answers or pairs that the judge could not grade")]
    fitted: Annotated[int | None, Column("Answers left out because the judge was fitted on their texts")]
    accuracy: Annotated[
        float | None, Column("Share of the pairs in which the judge prefers what most people preferred")
    ]
    accuracy_low: Annotated[float | None, Column("Lower end of the 95 % bootstrap interval")]
    accuracy_high: Annotated[float | None, Column("Upper end of that interval")]
    kappa: Annotated[float | None, Column("The same beyond chance, Cohen's kappa")]
    kappa_low: Annotated[float | None, Column("Lower end of the 95 % bootstrap interval")]
    kappa_high: Annotated[float | None, Column("Upper end of that interval")]
    consistent: Annotated[float | None, Column("Share of the pairs in which both orders have the same winner")]
    judge_prefers_longer: Annotated[float | None, Column("Share of the judge's choices that are the longer answer")]
    people_prefer_longer: Annotated[float | None, Column("The same of the people's choices")]
    length_partial: Annotated[float | None, Column("Rank correlation of grade and length at the same human rating")]
    human_length_correlation: Annotated[float | None, Column("Rank correlation of the people's rating and length")]
    repeated_equal: Annotated[float | None, Column("Share of grades that stayed the same when given again")]
    repeated_difference: Annotated[float | None, Column("The most that a grade moved when given again")]
    human_threshold: Annotated[float | None, Column("The human rating from which on an answer is acceptable")]
    sensitivity: Annotated[float | None, Column("Share of the acceptable answers that the judge accepts")]
    specificity: Annotated[float | None, Column("Share of the others that it does not accept")]
    calibration: Annotated[str | None, Column("Grade to human rating, 1 to 10: corners of the rising line, as JSON")]
    why: Annotated[str | None, Column("Why figures are absent")]


class JudgeScore(Record):
    """A graded answer."""

    model: Annotated[str, Column("`base`, `adapter` or `incumbent`")]
    model_fingerprint: Annotated[str, Column("Fingerprint of the model that answered")]
    adapter_id: Annotated[str, Column("The candidate that this comparison is about")]
    example_id: ExampleId
    patient_key: PatientKey
    answer: Annotated[str, Column("What the model answered to scrubbed input", is_report_text=True)]
    score: Annotated[float | None, Column("Grade from 1 to 10; absent when it could not be graded, never 0")]
    reason: Annotated[str, Column("Why the grade is what it is, or why it is absent")]
    unsupported_numbers: Annotated[int, Column("Numbers in the answer that the input does not hold")]
    is_finished: Annotated[bool, Column("True when the answer ended with the stop token, not at the length limit")]
    judge_version: Annotated[str, Column("Fingerprint of the judge")]
    judge_kind: Annotated[str | None, Column("`offline`, `endpoint` or `folder`")]
    task: Annotated[str | None, Column("Task of the recipe that made the example")]
    criteria: Annotated[
        str | None,
        Column(
            "Each criterion of the rubric with score, reason and evidence, as JSON; absent without any",
            is_report_text=True,
        ),
    ]
    compared_with: Annotated[
        str | None,
        Column(
            "Candidate's rows: fingerprint of the model whose answer it was compared with; absent without a comparison"
        ),
    ]
    preference: Annotated[
        float | None,
        Column(
            "How likely this is the better of the two, 0 to 1, asked in both orders; absent where the judge named neither"
        ),
    ]
    is_consistent: Annotated[bool | None, Column("Whether both orders prefer the same answer; absent for equal texts")]
    preference_reason: Annotated[str | None, Column("How the preference came about, or why it is absent")]


class AnswerCheck(Record):
    """What a deterministic check found of an answer."""

    model: Annotated[str, Column("`base`, `adapter` or `incumbent`")]
    model_fingerprint: Annotated[str, Column("Fingerprint of the model that answered")]
    adapter_id: Annotated[str, Column("The candidate that this comparison is about")]
    example_id: ExampleId
    patient_key: PatientKey
    check: Annotated[
        str,
        Column("`numbers`, `units`, `dates`, `sides`, `negations`, `medications`, `format`, `finished` or `length`"),
    ]
    is_held: Annotated[
        bool | None, Column("Whether the answer holds to it; absent where it does not apply to the task")
    ]
    found: Annotated[int, Column("How many things the input does not support, or faults of form; never text")]


class RetainedAbility(Record):
    """How a candidate and its base model answer general questions."""

    ability: Annotated[str, Column("General task kept out of training")]
    adapter_id: Annotated[str, Column("The candidate")]
    items: Annotated[int, Column("Questions")]
    base_accuracy: Annotated[float, Column("Share that the base model answers rightly")]
    adapter_accuracy: Annotated[float, Column("Share that the candidate answers rightly")]
    low: Annotated[float, Column("Lower end of the 95 % score interval of the difference (Tango 1998)")]
    high: Annotated[float, Column("Upper end of that interval")]
    base_right_only: Annotated[int | None, Column("Questions that only the base model answers rightly")]
    adapter_right_only: Annotated[int | None, Column("Questions that only the candidate answers rightly")]
    budget: Annotated[float | None, Column("Accuracy that may be lost on this task when the table was made")]


class RobustnessProbe(Record):
    """How often a candidate and its base model held under a probe."""

    probe: Annotated[str, Column("What was done to the input, or which one was sent")]
    adapter_id: Annotated[str, Column("The candidate")]
    items: Annotated[int, Column("Inputs")]
    held: Annotated[int, Column("Inputs that the candidate refused, or answered as if nothing was wrong")]
    base_held: Annotated[int, Column("The same of the base model")]


class MemorizationProbe(Record):
    """What a model gave back of what it should not have kept."""

    probe: Annotated[str, Column("What was tried, such as `canaries_1`: those that are read once an epoch")]
    adapter_id: Annotated[str, Column("The candidate")]
    decides: Annotated[bool, Column("True where a leak refuses the candidate; others show where leaks begin")]
    items: Annotated[int, Column("Canaries, identifiers that were asked for, or answers that were looked through")]
    extracted: Annotated[int | None, Column("Of these, how many gave something away; absent if it was not measured")]
    p_value: Annotated[float | None, Column("Rank-sum test of canaries against controls; absent for other probes")]
    is_clean: Annotated[bool, Column("True when nothing was given away")]
    why: Annotated[str, Column("The same in plain words; counts and kinds only")]
    repeats: Annotated[int | None, Column("Times that a canary is in the training rows; absent for other probes")]
    controls: Annotated[int | None, Column("Canaries that nobody trained on, to compare with")]
    exposure: Annotated[float | None, Column("Mean exposure of the canaries, in bits; 1.4 by chance")]
    p_limit: Annotated[float | None, Column("p below which a difference from the controls counts")]
    bound_to: Annotated[str | None, Column("Fingerprint of all that decided the shadow adapter that was asked")]


class PromotionVerdict(Record):
    """A verdict on a candidate."""

    verdict_id: Annotated[str, Column("Fingerprint of the verdict and all that it rests on")]
    decision: Annotated[str, Column("`promote`, `hold` or `refuse`")]
    line: Line
    adapter_id: Annotated[str, Column("The candidate")]
    base_fingerprint: Annotated[str, Column("Its base model")]
    instruction_set_fingerprint: Annotated[str, Column("What it was trained and tested on")]
    incumbent: Annotated[str, Column("Fingerprint of the model that it was compared with")]
    reasons: Annotated[tuple[str, ...], Column("Every reason, in plain words")]
    examples: Annotated[int, Column("Test examples graded for both")]
    incumbent_score: Annotated[float | None, Column("Mean grade of the incumbent")]
    candidate_score: Annotated[float | None, Column("Mean grade of the candidate")]
    gain_low: Annotated[float | None, Column("Lower end of the 95 % interval of the mean difference")]
    gain_high: Annotated[float | None, Column("Upper end of that interval")]
