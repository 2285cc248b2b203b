"""Plants one error into a right output: another number, unit, date, side, medicine, dose or frequency, a negation more or less.

Errors are made with patterns and a list of findings that the checks do not share: a check that learns new words must not change
the set that measures it.
"""

import random
import re
from collections.abc import Callable, Sequence

from fine_tune_assets.claims.sides import extract_sides
from fine_tune_assets.quantities.stated_dates import read_dates

Plant = Callable[[str, random.Random], str | None]
"""Takes an output and returns it with an error; None if nothing can be changed."""

_FINDINGS = (
    "ache allergies allergy anemia anxiety arrhythmia asthma bleeding blister bruising cancer chills claudication "
    "clot confusion congestion constipation convulsion cough cramp cyanosis dementia depression diabetes diarrhea "
    "discharge distention dizziness drainage dyspnea dysphagia dysuria edema effusion erythema exudate fatigue fever "
    "fevers fracture gallops goiter guarding headache headaches heartburn hematuria hemorrhage hepatitis hepatomegaly "
    "hernia hoarseness hypertension incontinence infection inflammation itching jaundice lesion lump lymphadenopathy "
    "mass masses melena migraine murmur murmurs nausea numbness orthopnea pain pains palpitations paralysis "
    "paresthesia pneumonia pneumothorax polyuria pregnancy rales rash redness rhonchi seizure seizures smoking spasm "
    "stiffness stroke swelling syncope tenderness thrombosis tingling tinnitus tremor tuberculosis tumor ulcer "
    "vertigo vomiting weakness wheeze wheezes wheezing"
)
_NAMED = rf"(?:(?!(?:no|not|or|and|for|of)\b)[a-z-]+\s+){{0,2}}(?:{'|'.join(_FINDINGS.split())})\b"
_NEGATED = re.compile(
    rf"\b(?P<cue>denies|denied|no|without|negative\s+for)\s+(?P<any>any\s+|evidence\s+of\s+)?(?P<rest>{_NAMED})",
    re.IGNORECASE,
)
_ASSERTED = re.compile(
    r"\b(?P<cue>reports|endorses|complains\s+of|has|had|having|with|positive\s+for|experiencing)\s+"
    rf"(?P<any>(?:a|an|some|mild|severe|significant)\s+)?(?P<rest>{_NAMED})",
    re.IGNORECASE,
)
_TURNED = {
    "denies": "reports", "denied": "reported", "no": "has", "without": "with", "negative for": "positive for",
    "reports": "denies", "endorses": "denies", "complains of": "denies", "has": "has no", "had": "had no",
    "having": "having no", "with": "without", "positive for": "negative for", "experiencing": "experiencing no",
}  # fmt: skip
_OTHER_UNIT = {
    "mg": "mcg", "milligrams": "micrograms", "mcg": "mg", "g": "mg", "ml": "l", "cm": "mm", "mm": "cm", "days": "weeks",
    "day": "week", "weeks": "months", "week": "month", "months": "years", "hours": "days",
}  # fmt: skip
_OTHER_SIDE = {"left": "right", "right": "left"}
_MONTHS = [
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
]  # fmt: skip


def other_number(output: str, rng: random.Random) -> str | None:
    found = list(re.finditer(r"(?<![\d.,/])\d{1,3}(?![\d.,/])", output))
    return _swap(output, found, lambda match: str(int(match.group()) * 2 + 1), rng)


def other_unit(output: str, rng: random.Random) -> str | None:
    found = list(re.finditer(rf"(?<=\d )(?:{'|'.join(_OTHER_UNIT)})\b", output, re.IGNORECASE))
    return _swap(output, found, lambda match: _OTHER_UNIT[match.group().lower()], rng)


def other_side(output: str, rng: random.Random) -> str | None:
    real = {side.written.split()[0] for side in extract_sides(output)} & {"left", "right", "Left", "Right"}
    found = [m for m in re.finditer(r"\b(?:left|right)\b(?= [a-z])", output, re.IGNORECASE) if m.group() in real]
    return _swap(output, found, lambda match: _OTHER_SIDE[match.group().lower()], rng)


def no_negation(output: str, rng: random.Random) -> str | None:
    """A negated finding is asserted: "denies chest pain" becomes "reports chest pain"."""
    return _swap(output, list(_NEGATED.finditer(output)), _turned, rng)


def more_negation(output: str, rng: random.Random) -> str | None:
    """An asserted finding is negated: "has a fever" becomes "has no fever"."""
    return _swap(output, list(_ASSERTED.finditer(output)), _turned, rng)


def other_date(output: str, rng: random.Random) -> str | None:
    if not any(True for _ in read_dates(output)):
        return None
    months = list(re.finditer(rf"\b(?:{'|'.join(_MONTHS)})\b(?= \d)", output))
    if months:
        return _swap(output, months, lambda match: _MONTHS[(_MONTHS.index(match.group()) + 5) % 12], rng)
    days = list(re.finditer(r"(?<=[/-])\d{1,2}(?=[/-])", output))
    return _swap(output, days, lambda match: str(int(match.group()) % 28 + 1), rng)


def _words(listed: str) -> list[str]:
    return listed.split()


_MEDICINES = _words(
    "acetaminophen albuterol allopurinol amlodipine amoxicillin aspirin atenolol atorvastatin azithromycin benadryl "
    "benicar carvedilol celebrex cipro citalopram clindamycin clonidine coumadin cymbalta digoxin effexor flexeril "
    "flomax flovent furosemide gabapentin glipizide hydrochlorothiazide ibuprofen insulin keflex klonopin lantus "
    "lasix levaquin levothyroxine lexapro lipitor lisinopril lortab losartan meloxicam metformin methotrexate "
    "metoprolol mobic morphine motrin naprosyn neurontin nexium norvasc omeprazole paxil penicillin percocet plavix "
    "prednisone prilosec protonix prozac robaxin seroquel simvastatin singulair symbicort synthroid tramadol tylenol "
    "ultram valium vicodin warfarin xanax zocor zofran zoloft zyrtec"
)
_WITHOUT_BRAND = _words(
    "allopurinol amoxicillin atenolol atorvastatin azithromycin carvedilol citalopram clindamycin clonidine digoxin "
    "glipizide losartan methotrexate metoprolol morphine naprosyn penicillin percocet plavix prednisone protonix "
    "prozac seroquel valium xanax zofran"
)
"""None of these is another name of one above."""
_MEDICINE = rf"\b(?:{'|'.join(_MEDICINES)})\b"
_DOSE = re.compile(
    rf"{_MEDICINE}[\s,]+(?:(?:at|to|of)\s+)?(?P<dose>\d+(?:\.\d+)?)(?=\s?(?:mg|mcg|milligrams?|micrograms?|units|puffs?)\b)",
    re.IGNORECASE,
)
_OTHER_FREQUENCY = {
    "once daily": "twice daily", "once a day": "three times a day", "twice daily": "once daily",
    "twice a day": "three times a day",
    "three times a day": "once a day", "3 times a day": "once a day", "every 4 hours": "every 12 hours",
    "every 6 hours": "every 12 hours",
    "every 8 hours": "every 4 hours", "every 12 hours": "every 6 hours", "once weekly": "once daily", "once a week": "once a day",
    "every week": "every day", "daily": "twice daily", "a day": "every 6 hours", "bid": "tid", "tid": "bid", 
    "b.i.d": "t.i.d", "t.i.d": "b.i.d",
}  # fmt: skip
_FREQUENCY = re.compile(
    rf"{_MEDICINE}[^.;\n]{{0,30}}?(?<!times)\s"
    rf"(?P<frequency>{'|'.join(re.escape(one) for one in _OTHER_FREQUENCY)})\b",
    re.IGNORECASE,
)


def other_medicine(output: str, rng: random.Random) -> str | None:
    """A medicine with a dose or a frequency becomes one that the output does not name."""
    found = [*_DOSE.finditer(output), *_FREQUENCY.finditer(output)]
    others = [name for name in _WITHOUT_BRAND if name not in output.lower()]
    name = re.compile(r"\w+")
    return _swap(output, [m for f in found if (m := name.match(output, f.start()))], lambda _: rng.choice(others), rng)


def other_dose(output: str, rng: random.Random) -> str | None:
    """The half or the double: both are strengths that are sold."""
    return _swap_group(
        output, list(_DOSE.finditer(output)), "dose", lambda dose: f"{float(dose) * rng.choice((0.5, 2)):g}", rng
    )


def doses_exchanged(output: str, rng: random.Random) -> str | None:
    """A medicine has the dose of another one, and that one its own."""
    found = list(_DOSE.finditer(output))
    pairs = [(a, b) for a in found for b in found if a.start() < b.start() and a["dose"] != b["dose"]]
    pairs = [
        (a, b) for a, b in pairs if a.group().split()[0].lower().strip(",") != b.group().split()[0].lower().strip(",")
    ]
    if not pairs:
        return None
    a, b = rng.choice(pairs)
    between = output[a.end("dose") : b.start("dose")]
    return output[: a.start("dose")] + b["dose"] + between + a["dose"] + output[b.end("dose") :]


def other_frequency(output: str, rng: random.Random) -> str | None:
    found = list(_FREQUENCY.finditer(output))
    return _swap_group(output, found, "frequency", lambda said: _OTHER_FREQUENCY[said.lower()], rng)


def _swap_group(
    output: str, found: Sequence[re.Match[str]], group: str, other: Callable[[str], str], rng: random.Random
) -> str | None:
    if not found:
        return None
    match = rng.choice(found)
    return output[: match.start(group)] + other(match[group]) + output[match.end(group) :]


def _turned(match: re.Match[str]) -> str:
    return f"{_TURNED[' '.join(match['cue'].lower().split())]} {match['rest']}"


def _swap(
    output: str, found: Sequence[re.Match[str]], other: Callable[[re.Match[str]], str], rng: random.Random
) -> str | None:
    if not found:
        return None
    match = rng.choice(found)
    return output[: match.start()] + other(match) + output[match.end() :]


PLANTS: dict[str, tuple[Plant, str]] = {
    "another number": (other_number, "number not in input"),
    "another unit": (other_unit, "unit not in input"),
    "the other side": (other_side, "side not in input"),
    "a negation left out": (no_negation, "negation not in input"),
    "a negation added": (more_negation, "negation not in input"),
    "another date": (other_date, "date not in input"),
    "another medicine": (other_medicine, "medication not in input"),
    "half or twice the dose": (other_dose, "medication not in input"),
    "the doses of two medicines exchanged": (doses_exchanged, "medication not in input"),
    "another frequency": (other_frequency, "medication not in input"),
}
"""Planted error → how it is made, and the kind of flag that should find it."""
