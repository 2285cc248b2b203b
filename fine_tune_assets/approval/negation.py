"""Finds findings that an output negates and its input asserts, or the other way round.

Owns cues, their scope and the findings that are looked at, after NegEx (Chapman et al. 2001): a cue negates what follows it
up to the end of the clause. A question asserts nothing: its answer does. Knows no word that is not in its list.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

FINDINGS = [
    "ache",
    "allergy",
    "anemia",
    "anxiety",
    "arrhythmia",
    "asthma",
    "bleeding",
    "blister",
    "bruise",
    "bruising",
    "cancer",
    "chill",
    "claudication",
    "clot",
    "confusion",
    "congestion",
    "constipation",
    "convulsion",
    "cough",
    "cramp",
    "cyanosis",
    "dementia",
    "depression",
    "diabetes",
    "diarrhea",
    "discharge",
    "distention",
    "dizziness",
    "drainage",
    "dyspnea",
    "dysphagia",
    "dysuria",
    "edema",
    "effusion",
    "erythema",
    "exudate",
    "fatigue",
    "fever",
    "fracture",
    "gallop",
    "goiter",
    "guarding",
    "headache",
    "heartburn",
    "hematuria",
    "hemorrhage",
    "hepatitis",
    "hepatomegaly",
    "hernia",
    "hoarseness",
    "hypertension",
    "incontinence",
    "infection",
    "inflammation",
    "itching",
    "jaundice",
    "lesion",
    "lump",
    "lymphadenopathy",
    "mass",
    "melena",
    "migraine",
    "murmur",
    "nausea",
    "numbness",
    "orthopnea",
    "pain",
    "palpitation",
    "paralysis",
    "paresthesia",
    "pneumonia",
    "pneumothorax",
    "polyuria",
    "pregnancy",
    "rale",
    "rash",
    "redness",
    "rhonchi",
    "seizure",
    "smoke",
    "spasm",
    "stiffness",
    "stroke",
    "swelling",
    "syncope",
    "tenderness",
    "thrombosis",
    "tingling",
    "tinnitus",
    "tremor",
    "tuberculosis",
    "tumor",
    "ulcer",
    "vertigo",
    "vomiting",
    "weakness",
    "wheeze",
    "wheezing",
]
_FINDING_OF = {form: name for name in FINDINGS for form in (name, name + "s")} | {
    "allergies": "allergy", "vomit": "vomiting", "dizzy": "dizziness", "nauseous": "nausea", "nauseated": "nausea",
    "fatigued": "fatigue", "smoking": "smoke", "smokes": "smoke", "smoked": "smoke", "seizing": "seizure", "masses": "mass",
    "coughing": "cough", "swollen": "swelling", "tender": "tenderness", "anxious": "anxiety", "depressed": "depression",
    "itchy": "itching", "itch": "itching", "hurts": "pain", "hurt": "pain", "painful": "pain", "feverish": "fever",
    "bled": "bleeding", "bleed": "bleeding", "diabetic": "diabetes",
}  # fmt: skip
_CUE = (
    r"no|not|denies|denied|deny|denying|without|never|none|negative(?:\s+for)?|free\s+of|absence\s+of|absent|nor|neither|"
    r"don't|doesn't|didn't|haven't|hasn't|isn't|aren't|wasn't|can't|nope|non"
)
_TOKEN = re.compile(rf"(?P<cue>\b(?:{_CUE})\b)|(?P<word>[A-Za-z][A-Za-z']*)|(?P<end>[.;!?\n:])", re.IGNORECASE)
_CLAUSE_ENDS = frozenset(
    [
        "but",
        "however",
        "except",
        "although",
        "though",
        "apart",
        "aside",
        "besides",
        "because",
        "still",
        "yet",
        "presents",
        "reports",
        "complains",
        "has",
        "have",
        "had",
        "is",
        "are",
        "was",
        "were",
        "states",
        "positive",
        "admits",
        "he",
        "she",
        "they",
    ]
)
_NOT_A_NEGATION = re.compile(
    r"\b(?:no|not|without)\s+(?:change|changes|increase|only|necessarily|certain|sure|just|improvement|relief)\b|\bnot\s+(?:really\s+)?better\b",
    re.IGNORECASE,
)
_ANSWER = re.compile(
    r"\s*(?:\[?[A-Za-z_ ]{1,20}\]?\s*:)?\s*(?:(?:uh|um|oh|well|so|hm+)[,.\s]+)*"
    r"(?:(?P<no>no|nope|not|never|none|negative)|(?P<yes>yes|yeah|yep|yup|i do|i have|definitely|sure))\b",
    re.IGNORECASE,
)
_DOUBTED = re.compile(
    r"\b(?:if|any|should|whether|or|risk|family|history|mother|father|brother|sister|r/o|rule)\b", re.IGNORECASE
)
_SCOPE_WORDS = 12
State = Literal["negated", "asserted", "open"]


@dataclass(frozen=True)
class Finding:
    name: str
    state: State
    written: str
    """From the cue on, as it stands there."""


def unsupported_negations(output: str, input_text: str) -> list[str]:
    """What `output` negates and every mention of `input_text` asserts, or the other way round, as it stands; each once.

    >>> unsupported_negations("Denies chest pain.", "The chest pain is worse.")
    ['Denies chest pain']
    """
    held: dict[str, set[State]] = {}
    for finding in findings_in(input_text):
        held.setdefault(finding.name, set()).add(finding.state)
    here: dict[str, set[State]] = {}
    outputs = list(findings_in(output))
    for finding in outputs:
        here.setdefault(finding.name, set()).add(finding.state)
    found: dict[str, None] = {}
    for finding in outputs:
        opposite = {"negated": {"asserted"}, "asserted": {"negated"}}.get(finding.state)
        # An output that says both speaks of two things; which is which can't be told from words.
        if held.get(finding.name) == opposite and len(here[finding.name]) == 1:
            found.setdefault(finding.written)
    return list(found)


def findings_in(text: str) -> Iterator[Finding]:
    plain = _NOT_A_NEGATION.sub(lambda match: " " * len(match.group()), text)
    for start, end in _sentences(plain):
        sentence = plain[start:end]
        if sentence.rstrip().endswith("?"):
            answer = _answer_at(plain, end)
            yield from (Finding(f.name, answer, f.written) for f in _of_sentence(text, sentence, start))
        else:
            yield from _of_sentence(text, sentence, start)


def _answer_at(text: str, place: int) -> State:
    match = _ANSWER.match(text, place)
    if match is None:
        return "open"
    return "negated" if match["no"] else "asserted"


def _sentences(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for match in re.finditer(r"[.?!](?=\s|$)|\n", text):
        yield start, match.end()
        start = match.end()
    yield start, len(text)


def _of_sentence(text: str, sentence: str, offset: int) -> Iterator[Finding]:
    cue_at, words = -1, 0
    doubted = bool(_DOUBTED.search(sentence))
    for match in _TOKEN.finditer(sentence):
        if match["cue"]:
            cue_at, words = match.start(), 0
            continue
        # "has not had any pain": a verb right behind the cue ends nothing.
        if match["end"] or (match.group().lower() in _CLAUSE_ENDS and words > 0):
            cue_at = -1
            continue
        words += 1
        name = _FINDING_OF.get(match.group().lower())
        if name is None:
            continue
        is_negated = cue_at >= 0 and words <= _SCOPE_WORDS
        state: State = "negated" if is_negated else "open" if doubted else "asserted"
        first = offset + (cue_at if is_negated else match.start())
        yield Finding(name, state, " ".join(text[first : offset + match.end()].split()))
