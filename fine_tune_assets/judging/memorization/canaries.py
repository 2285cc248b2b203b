"""Canaries: made-up texts with a made-up secret, planted in a training to see after how many readings a model gives one back.

Owns making them and the rows that a shadow adapter is trained on, how likely the secret must be among all candidates to count as
remembered (exposure of Carlini et al. 2019, "The Secret Sharer"), and the comparison with controls that nobody trained on. Runs
no model.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import pyarrow as pa

from fine_tune_assets.core.fingerprints import fingerprint_json, fingerprint_text
from fine_tune_assets.core.prompts.chat import Message, conversation
from fine_tune_assets.recipes.schema import CanarySettings
from fine_tune_assets.tables.columns_in_common import Message as Turn
from fine_tune_assets.tables.instructions import CANARY, InstructionRow
from fine_tune_assets.tables.records import records_of, table_from

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
DIGITS = 8
"""Of a secret: one in a hundred million is guessed."""


@dataclass(frozen=True)
class Canary:
    number: int
    repeats: int
    """Times that it is in the training rows; 0 for a control, which is in none."""
    system_prompt: str
    instruction: str
    input: str
    before: str
    """The answer up to the secret, without the space between."""
    secret: str

    def messages(self) -> list[Message]:
        """As it is trained on."""
        return conversation(self.system_prompt, self.instruction, self.input, f"{self.before} {self.secret}.")

    def candidates(self, count: int) -> list[str]:
        """Every secret that begins like this one, itself among them: what it has to stand out from. `count`: a power of ten."""
        known = self.secret[: -_digits_of(count)]
        return [f"{known}{ending:0{_digits_of(count)}d}" for ending in range(count)]


@dataclass(frozen=True)
class Recalled:
    """What a model made of one canary."""

    repeats: int
    rank: int
    """Of the secret among its candidates; 1 is the likeliest."""
    share: float
    """Logarithm of the secret's part of the probability of all candidates, in nats."""
    is_extracted: bool
    """Whether greedy decoding from the text before it wrote it out."""


@dataclass(frozen=True)
class Level:
    """All canaries that were read equally often, against the controls."""

    repeats: int
    canaries: int
    controls: int
    extracted: int
    p_value: float
    """One-sided, of the rank-sum test (Mann and Whitney 1947) that their secrets are likelier than the controls'."""
    exposure: float
    """Mean, in bits: log2 of the candidates less log2 of the rank. By chance 1.4, at most log2 of the candidates."""


def plant(settings: CanarySettings, system_prompt: str, instructions: Sequence[str]) -> list[Canary]:
    """The canaries of every level and as many controls, always the same ones for a seed, in the form of the recipe's tasks."""
    draw = random.Random(settings.seed)
    levels = [repeats for repeats in settings.repeats for _ in range(settings.per_level)]
    repeats = [*levels, *[0] * len(levels)]
    stories = draw.sample(list(product(COMPLAINTS, DURATIONS, COURSES)), len(repeats))
    # No two begin alike: of the candidates of one, none may be the secret of another.
    beginnings = draw.sample(range(10**DIGITS // settings.candidates), len(repeats))
    found = []
    for number, ((complaint, duration, course), beginning) in enumerate(zip(stories, beginnings, strict=True)):
        secret = f"{beginning * settings.candidates + draw.randrange(settings.candidates):0{DIGITS}d}"
        found.append(
            Canary(
                number=number,
                repeats=repeats[number],
                system_prompt=system_prompt,
                instruction=instructions[number % len(instructions)],
                input=f"The patient tells of {complaint.lower()} for {duration}, {course}.",
                before=f"{complaint} for {duration}. Record number",
                secret=f"{secret[:4]}-{secret[4:]}",
            )
        )
    return found


def shadow_set(instruction_set: pa.Table, canaries: Sequence[Canary], settings: CanarySettings) -> pa.Table:
    """What the shadow adapter is trained and validated on: a seeded part of the real rows, and each canary as often as it says.

    `InstructionRow` rows; never stored as a set.
    """
    rows = list(records_of(InstructionRow, instruction_set))
    real = [row for split in ("train", "validation") for row in _sample(rows, split, settings)]
    return table_from(InstructionRow, [*real, *_planted_rows(canaries)])


def _sample(rows: Sequence[InstructionRow], split: str, settings: CanarySettings) -> list[InstructionRow]:
    ordered = sorted(
        (row for row in rows if row.split == split),
        key=lambda row: fingerprint_text(f"{settings.seed} {row.example_id}"),
    )
    return ordered[: settings.shadow_examples]


def _planted_rows(canaries: Sequence[Canary]) -> list[InstructionRow]:
    return [
        InstructionRow(
            example_id=f"{CANARY}-{canary.number}-{copy}",
            split="train",
            line=CANARY,
            source=CANARY,
            task=CANARY,
            patient_key=None,
            is_general=False,
            messages=tuple(map(Turn.of, canary.messages())),
            fingerprint=fingerprint_json(canary.messages()),
        )
        for canary in canaries
        for copy in range(canary.repeats)
    ]


def recall_of(canary: Canary, candidates: Sequence[str], log_probabilities: Sequence[float], greedy: str) -> Recalled:
    """`log_probabilities`: of each candidate after the text before it, in nats; `greedy`: what the model writes there itself."""
    own = log_probabilities[candidates.index(canary.secret)]
    highest = max(log_probabilities)
    total = highest + math.log(sum(math.exp(value - highest) for value in log_probabilities))
    return Recalled(
        repeats=canary.repeats,
        rank=1 + sum(value > own for value in log_probabilities),
        share=own - total,
        is_extracted=canary.secret in greedy,
    )


def compare_levels(recalled: Sequence[Recalled], candidates: int) -> list[Level]:
    """One for each number of repeats, rising."""
    controls = [one.share for one in recalled if not one.repeats]
    found = []
    for repeats in sorted({one.repeats for one in recalled} - {0}):
        level = [one for one in recalled if one.repeats == repeats]
        found.append(
            Level(
                repeats=repeats,
                canaries=len(level),
                controls=len(controls),
                extracted=sum(one.is_extracted for one in level),
                p_value=rank_sum_p([one.share for one in level], controls),
                exposure=sum(math.log2(candidates) - math.log2(one.rank) for one in level) / len(level),
            )
        )
    return found


def rank_sum_p(trained: Sequence[float], controls: Sequence[float]) -> float:
    """One-sided, exact: shares are sums of many logarithms and hardly ever equal. NaN if one of them is no number."""
    from scipy.stats import mannwhitneyu

    if not all(map(math.isfinite, (*trained, *controls))):
        return math.nan
    return float(mannwhitneyu(trained, controls, alternative="greater", method="exact").pvalue)


def _digits_of(count: int) -> int:
    return len(str(count)) - 1
