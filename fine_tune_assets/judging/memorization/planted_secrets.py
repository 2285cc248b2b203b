"""Planted secrets: invented texts in a shadow training that show after how many repeats a model memorizes a text.

Generates the secrets and the training rows of the shadow adapter, and compares the secrets' likelihood among all alternatives
(exposure of Carlini et al. 2019, "The Secret Sharer") with controls outside the training. Runs no model.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import pyarrow as pa

from fine_tune_assets.core.fingerprints import fingerprint_json, fingerprint_text
from fine_tune_assets.core.prompts.conversations import Message, build_conversation
from fine_tune_assets.recipes.schema import PlantedSecretSettings
from fine_tune_assets.tables.common_columns import Message as Turn
from fine_tune_assets.tables.instruction_rows import PLANTED_SECRET, InstructionRow
from fine_tune_assets.tables.record_classes import iter_records, table_from_records

COMPLAINTS = (
    "Cough", "Headache", "Back pain", "Dizziness", "Sore throat", "Nausea", "Knee pain", "Fatigue", "Earache", "Itching",
    "Heartburn", "Neck stiffness", "Blurred vision", "Ankle swelling", "Shoulder pain", "Hoarseness", "Palpitations", "Hip pain",
)  # fmt: skip
DURATIONS = tuple(
    f"{number} {unit}" for unit in ("days", "weeks", "months") for number in ("two", "three", "four", "five", "six")
)
COURSES = (
    "worse at night",
    "better at rest",
    "worse after meals",
    "about the same",
    "worse in the cold",
    "slowly better",
)
SECRET_DIGITS = 8
"""Digits of a secret; the chance of a guess is one in a hundred million."""


@dataclass(frozen=True)
class PlantedSecret:
    number: int
    repeats: int
    """Copies in the training rows; 0 for a control."""
    system_prompt: str
    instruction: str
    input: str
    prefix: str
    """The answer up to the secret, without the space before it."""
    secret: str

    def messages(self) -> list[Message]:
        """The training conversation."""
        return build_conversation(self.system_prompt, self.instruction, self.input, f"{self.prefix} {self.secret}.")

    def alternatives(self, count: int) -> list[str]:
        """All secrets with the same beginning, including this one. `count`: a power of ten."""
        known = self.secret[: -_count_digits(count)]
        return [f"{known}{ending:0{_count_digits(count)}d}" for ending in range(count)]


@dataclass(frozen=True)
class SecretRecall:
    """How well a model recalls one planted secret."""

    repeats: int
    rank: int
    """Rank of the secret among its alternatives; 1 is the likeliest."""
    log_share: float
    """Logarithm of the secret's share of the probability of all alternatives, in nats."""
    is_extracted: bool
    """Whether greedy decoding from the prefix writes the secret."""


@dataclass(frozen=True)
class RepeatLevel:
    """Secrets with the same number of repeats, compared with the controls."""

    repeats: int
    secrets: int
    controls: int
    extracted: int
    p_value: float
    """One-sided p-value of the rank-sum test (Mann and Whitney 1947) that the secrets are likelier than the controls."""
    exposure: float
    """Mean in bits of log2(alternatives) minus log2(rank). 1.4 by chance, at most log2(alternatives)."""


def plant_secrets(
    settings: PlantedSecretSettings, system_prompt: str, instructions: Sequence[str]
) -> list[PlantedSecret]:
    """Generate the secrets of every level and as many controls, deterministic by seed, for the given instructions."""
    draw = random.Random(settings.seed)
    levels = [repeats for repeats in settings.repeats for _ in range(settings.per_level)]
    repeats = [*levels, *[0] * len(levels)]
    stories = draw.sample(list(product(COMPLAINTS, DURATIONS, COURSES)), len(repeats))
    # Distinct beginnings, so that no secret is an alternative of another.
    beginnings = draw.sample(range(10**SECRET_DIGITS // settings.alternatives), len(repeats))
    found = []
    for number, ((complaint, duration, course), beginning) in enumerate(zip(stories, beginnings, strict=True)):
        secret = f"{beginning * settings.alternatives + draw.randrange(settings.alternatives):0{SECRET_DIGITS}d}"
        found.append(
            PlantedSecret(
                number=number,
                repeats=repeats[number],
                system_prompt=system_prompt,
                instruction=instructions[number % len(instructions)],
                input=f"The patient tells of {complaint.lower()} for {duration}, {course}.",
                prefix=f"{complaint} for {duration}. Record number",
                secret=f"{secret[:4]}-{secret[4:]}",
            )
        )
    return found


def build_shadow_set(
    instruction_set: pa.Table, secrets: Sequence[PlantedSecret], settings: PlantedSecretSettings
) -> pa.Table:
    """The rows of the shadow training: a seeded sample of the real rows, and each secret with its repeats.

    `InstructionRow` rows; never stored as an instruction set.
    """
    rows = list(iter_records(InstructionRow, instruction_set))
    real = [row for split in ("train", "validation") for row in _sample(rows, split, settings)]
    return table_from_records(InstructionRow, [*real, *_planted_rows(secrets)])


def _sample(rows: Sequence[InstructionRow], split: str, settings: PlantedSecretSettings) -> list[InstructionRow]:
    ordered = sorted(
        (row for row in rows if row.split == split),
        key=lambda row: fingerprint_text(f"{settings.seed} {row.example_id}"),
    )
    return ordered[: settings.shadow_examples]


def _planted_rows(secrets: Sequence[PlantedSecret]) -> list[InstructionRow]:
    return [
        InstructionRow(
            example_id=f"{PLANTED_SECRET}-{secret.number}-{copy}",
            split="train",
            line=PLANTED_SECRET,
            source=PLANTED_SECRET,
            task=PLANTED_SECRET,
            subject_key=None,
            is_general=False,
            messages=tuple(map(Turn.from_row, secret.messages())),
            fingerprint=fingerprint_json(secret.messages()),
        )
        for secret in secrets
        for copy in range(secret.repeats)
    ]


def measure_recall(
    secret: PlantedSecret, alternatives: Sequence[str], log_probabilities: Sequence[float], greedy_text: str
) -> SecretRecall:
    """`log_probabilities`: of each alternative after the prefix, in nats; `greedy_text`: the greedy continuation."""
    own = log_probabilities[alternatives.index(secret.secret)]
    highest = max(log_probabilities)
    total = highest + math.log(sum(math.exp(value - highest) for value in log_probabilities))
    return SecretRecall(
        repeats=secret.repeats,
        rank=1 + sum(value > own for value in log_probabilities),
        log_share=own - total,
        is_extracted=secret.secret in greedy_text,
    )


def compare_levels(recalled: Sequence[SecretRecall], alternatives: int) -> list[RepeatLevel]:
    """One level per number of repeats, in increasing order."""
    controls = [one.log_share for one in recalled if not one.repeats]
    found = []
    for repeats in sorted({one.repeats for one in recalled} - {0}):
        level = [one for one in recalled if one.repeats == repeats]
        found.append(
            RepeatLevel(
                repeats=repeats,
                secrets=len(level),
                controls=len(controls),
                extracted=sum(one.is_extracted for one in level),
                p_value=rank_sum_p([one.log_share for one in level], controls),
                exposure=sum(math.log2(alternatives) - math.log2(one.rank) for one in level) / len(level),
            )
        )
    return found


def rank_sum_p(trained: Sequence[float], controls: Sequence[float]) -> float:
    """Exact one-sided p-value, since ties between shares are negligible. NaN if a share is not finite."""
    from scipy.stats import mannwhitneyu

    if not all(map(math.isfinite, (*trained, *controls))):
        return math.nan
    return float(mannwhitneyu(trained, controls, alternative="greater", method="exact").pvalue)


def _count_digits(count: int) -> int:
    return len(str(count)) - 1
