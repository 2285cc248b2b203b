"""Rewrites a statement without changing what it says."""

import re
from random import Random
from typing import Final

_REWRITES: Final = tuple(
    (re.compile(pattern), replacements)
    for pattern, replacements in (
        (r"^The patient (?=(?:is|was|has|had|denies|reports|states|takes)\b)", ("Patient ", "Pt ", "This patient ", "The pt ")),
        (r"^(?:She|He) (?=(?:is|was|has|had|denies|reports|states|takes)\b)", ("The patient ", "Patient ")),
        (r"\b[Dd]enies any\b", ("denies", "does not report any", "reports no")),
        (r"\b[Dd]enies(?! any)\b", ("reports no", "does not have", "denied")),
        (r"^No (?=[a-z])", ("Denies ", "There is no ", "The patient has no ", "Negative for ")),
        (r"\bcomplains of\b", ("reports", "has", "presents with")),
        (r"\breports\b", ("states that there is", "describes", "mentions")),
        (r"\byears? old\b", ("y/o", "years of age")),
        (r"\b(\d+) year[- ]old\b", (r"\1 y/o", r"\1-year-old")),
        (r"\btwice a day\b", ("two times daily", "bid")),
        (r"\bonce a day\b", ("daily", "every day")),
        (r"\bas needed\b", ("prn", "when needed")),
        (r"\bshe\b", ("the patient",)),
        (r"\bsignificant for\b", ("positive for", "notable for")),
        (r"\bhistory of\b", ("past", "hx of")),
        (r"\bhypertension\b", ("high blood pressure", "HTN")),
        (r"\bdiabetes\b", ("DM", "diabetes mellitus")),
        (r"\bshortness of breath\b", ("dyspnea", "SOB", "difficulty breathing")),
        (r"\bdyspnea\b", ("shortness of breath",)),
        (r"\bmyocardial infarction\b", ("heart attack", "MI")),
        (r"\btobacco\b", ("smoking",)),
        (r"\bappendectomy\b", ("removal of the appendix",)),
        (r"\babdominal pain\b", ("pain in the abdomen", "belly pain")),
        (r"\bchest pain\b", ("pain in the chest",)),
    )
)  # fmt: skip


def paraphrase(statement: str, random: Random, rewrites: int = 1) -> str | None:
    """The statement after up to `rewrites` random rewrites; None if none applies."""
    found = [(pattern, others) for pattern, others in _REWRITES if pattern.search(statement)]
    if not found:
        return None
    for pattern, others in random.sample(found, min(rewrites, len(found))):
        statement = pattern.sub(random.choice(others), statement, count=1)
    return statement[0].upper() + statement[1:]
