"""Our own recognisers: identifiers that have a form, as regular expressions of high precision.

Owns the patterns, in the order of the identifiers that 45 CFR 164.514(b)(2)(i) lists. A pattern's group `value`, if it
has one, is what is removed; what stands around it is context.
"""

# ruff: noqa: E501 (a pattern is easier to read on one line)

import re
from collections.abc import Iterator
from dataclasses import dataclass

from fine_tune_assets.phi.spans import Span


@dataclass(frozen=True)
class Rule:
    name: str
    label: str
    pattern: re.Pattern[str]
    score: float


def find_patterns(text: str) -> Iterator[Span]:
    for rule in RULES:
        for match in rule.pattern.finditer(text):
            start, end = match.span("value" if "value" in rule.pattern.groupindex else 0)
            if start < end:
                yield Span(start, end, rule.label, rule.name, rule.score)


def contains_date(text: str) -> bool:
    """Whether a calendar date is in it: "two weeks" and "50-year-old" are none."""
    return any(rule.pattern.search(text) for rule in RULES if rule.label == "DATE")


def _rule(name: str, label: str, pattern: str, score: float, flags: re.RegexFlag = re.IGNORECASE) -> Rule:
    return Rule(name, label, re.compile(pattern, flags | re.VERBOSE), score)


_MONTH = (
    r"(?:jan(?:uary|\.)?|feb(?:ruary|\.)?|mar(?:ch|\.)?|apr(?:il|\.)?|may|june?\.?|july?\.?|aug(?:ust|\.)?"
    r"|sept?(?:ember|\.)?|oct(?:ober|\.)?|nov(?:ember|\.)?|dec(?:ember|\.)?)"
)
_LONG_MONTH = r"(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_DAY = r"(?:0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th)?"
_YEAR = r"(?:19|20)\d\d"
_YEAR2 = rf"(?:{_YEAR}|['’]?\d\d)"
_NUMBER = r"(?:0?[1-9]|[12]\d|3[01])"
_UNIT = r"(?:one|two|three|four|five|six|seven|eight|nine)"
_TEENS = r"(?:ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen)"
_TENS = r"(?:twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)"
_BELOW_100 = rf"(?:{_TENS}(?:[- ]{_UNIT})?|{_TEENS}|(?:oh[- ])?{_UNIT})"
_DAY_IN_WORDS = (
    r"(?:(?:twenty|thirty)[- ])?(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth)"
    r"|tenth|eleventh|twelfth|thirteenth|fourteenth|fifteenth|sixteenth|seventeenth|eighteenth|nineteenth"
    r"|twentieth|thirtieth"
)
_YEAR_IN_WORDS = rf"(?:two[ ]thousand(?:[ ](?:and[ ])?{_BELOW_100})?|(?:nineteen|twenty)[ ]{_BELOW_100})"
_OVER_89 = (
    r"(?:9\d|1[0-4]\d|ninety(?:[-\s](?:one|two|three|four|five|six|seven|eight|nine))?"
    r"|(?:one|a)[-\s]hundred(?:[-\s](?:and[-\s])?(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve))?)"
)
_STREET = (
    r"(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Circle|Cir|Place|Pl|Terrace|Ter|Way"
    r"|Parkway|Pkwy|Highway|Hwy|Square|Sq|Trail|Trl|Row|Close|Crescent|Alley|Loop)"
)
_STATE = r"(?:A[KLRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|PA|RI|S[CD]|T[NX]|UT|V[AT]|W[AIVY])"
_CAPITALISED = r"(?:(?:Mc|Mac|O['’]|D['’]|St\.\ ?|de\ |van\ |von\ )?[A-Z][\w'’]+(?:-[A-Z][\w'’]+)*)"
_CARE_SITE = (
    r"(?:Hospitals?|Medical\ (?:Center|Centre|Group|Associates)|Health\ (?:Center|Centre|System|Services|Clinic)"
    r"|Healthcare(?:\ (?:Center|System))?|Clinics?|Infirmary|Nursing\ Home|Rehabilitation\ (?:Center|Hospital)"
    r"|(?:Family|Primary|Urgent|Specialty)\ Care|(?:Surgery|Cancer|Heart|Trauma|Care|Dialysis|Imaging)\ Cent(?:er|re)"
    r"|Institute|Pharmacy|Sanatorium|Memorial|Med\.?\ Cent(?:er|re)|Health\ Care|Hosp"
    r"|(?<!Mental\ )(?<!Public\ )(?<!Home\ )(?<!Behavioral\ )(?<!Women's\ )(?<!Oral\ )Health|General(?!\s?:)|Gen|Med)"
)
# The value of an identifying number: at least one digit, four characters or more.
_CODE = r"(?:\#\s?)?(?=[A-Z0-9/_.-]*\d)[A-Z0-9](?:[A-Z0-9/_-]|\.(?=[A-Z0-9]))*[A-Z0-9]"
_ID_WORD = (
    r"(?:mrn|medical\ record|med\ rec|chart|patient\ id|pt\ id|record|account|acct|policy|member(?:ship)?|subscriber"
    r"|beneficiary|health\ plan|insurance|plan|group|claim|certificate|license|licence|licensed?\ number|npi|dea|medicare"
    r"|medicaid|passport|encounter|accession|specimen|case|visit|device|serial|implant|vin|plate|badge|employee"
    r"|identifier|id|reference|ref|invoice|billing|order|ticket|unit|confirmation|driver'?s?\ licen[sc]e)"
)

RULES: tuple[Rule, ...] = (
    # Names
    _rule("title_name", "NAME", rf"""
        \b(?:(?:Dr|Prof|Mr|Mrs|Ms|Mx|Rev|Sgt|Capt)\b\.?|(?:Doctor|Professor|Miss)\b)[ ]+(?!I\b)(?:[A-Z]\.[ ]?)*
        (?:{_CAPITALISED}(?:[ ](?!I\b)(?:[A-Z]\b\.?|{_CAPITALISED})){{0,2}}|(?<=[A-Z]\.)|[A-Z]\b)""", 0.9, re.NOFLAG),
    _rule("lower_case_doctor", "NAME", r"""
        \b(?:dr\.|dr)[ ][a-z]{3,}(?:[ ]?['’]s)?\b(?![ ](?:appointment|visit|office)\b)""", 0.6, re.NOFLAG),
    _rule("name_with_initial", "NAME", rf"\b{_CAPITALISED}[ ][A-Z]\.(?=[\s,;:?!)']|$)", 0.6, re.NOFLAG),
    _rule("called_name", "NAME", rf"""
        \b(?i:patient(?:'s)?[ ]name(?:[ ]is)?|my[ ]name[ ]is|patient[ ](?:named|called)|named|signed[ ]by|attn)[:,]?[ ]+
        (?P<value>{_CAPITALISED}(?:[ ](?:[A-Z]\.|{_CAPITALISED})){{0,2}})""", 0.8, re.NOFLAG),
    # Places
    _rule("street_address", "LOCATION", rf"""
        \b\d{{1,6}}[A-Za-z]?[ ](?:(?:N|S|E|W|NE|NW|SE|SW|North|South|East|West)\.?[ ])?
        (?:(?:[A-Z][\w'’]*|\d+(?:st|nd|rd|th))[ ]){{1,4}}{_STREET}\b(?:\.(?=,|[ ](?:Apt|Suite|Ste|Unit|\#)))?
        (?:,?[ ](?:Apt|Apartment|Suite|Ste|Unit|Room|\#)\.?[ ]?\#?\w+)?
        (?:,[ ]{_CAPITALISED}(?:[ ]{_CAPITALISED}){{0,2}})?(?:,[ ]{_STATE}\b)?(?:[ ]\d{{5}}(?:-\d{{4}})?)?""",
        0.9, re.NOFLAG),
    _rule("post_box", "LOCATION", r"\bP\.?\ ?O\.?\ ?Box[ ]\#?\d+\b", 0.9),
    _rule("city_state", "LOCATION", rf"""
        \b{_CAPITALISED}(?:[ ]{_CAPITALISED}){{0,2}},[ ]{_STATE}\b(?:[ ]\d{{5}}(?:-\d{{4}})?)?""", 0.8, re.NOFLAG),
    _rule("zip_code", "LOCATION", rf"\b(?:(?i:zip(?:[ ]code)?|postal[ ]code)[: ]+|{_STATE}[ ])(?P<value>\d{{5}}(?:-\d{{4}})?)\b",
          0.9, re.NOFLAG),
    _rule("uk_postcode", "LOCATION", r"\b[A-Z]{1,2}\d[A-Z\d]?[ ]\d[ABD-HJLNP-UW-Z]{2}\b", 0.7, re.NOFLAG),
    _rule("care_site", "FACILITY", rf"""
        \b(?:{_CAPITALISED}|[A-Z]{{2,6}})(?:(?:[ ]|-|[ ]of[ ]|[ ]and[ ]|[ ]&[ ])(?:{_CAPITALISED}|[A-Z]{{2,6}})){{0,4}}?
        (?:[ ]{_CARE_SITE}\b){{1,3}}(?:[ ](?:of|at|in)[ ]{_CAPITALISED}(?:[ ]{_CAPITALISED}){{0,2}})?""", 0.7, re.NOFLAG),
    _rule("saint_site", "FACILITY", r"\b(?:St\.?|Saint|Mount|Mt\.?)[ ][A-Z][\w]+(?:['’]s?)?(?=\W|$)", 0.7, re.NOFLAG),
    _rule("known_care_site", "FACILITY", r"""
        \b(?:Mayo|Kaiser(?:[ ]Permanente)?|Johns?[ ]Hopkins|Cleveland|Cedars[- ]Sinai|Mount[ ]Sinai|UCLA|UCSF|NYU
        |Mass[ ]General|MD[ ]Anderson)\b(?:[ ][A-Z]\w+){0,2}""", 0.7, re.NOFLAG),
    # Dates
    _rule("date_iso", "DATE", rf"\b{_YEAR}[-/.](?:0?[1-9]|1[0-2])[-/.]{_NUMBER}(?:T[\d:.]+Z?)?(?!\d)", 0.95),
    _rule("date_numeric", "DATE", rf"(?<![\d/.-]){_NUMBER}([/.-]){_NUMBER}\1(?:{_YEAR}|\d\d)(?![\d/]|-\d|\.\d)", 0.9),
    _rule("date_month_day", "DATE", rf"\b{_MONTH}[ ]*{_DAY}\b(?!\s?(?:mg|mcg|ml|%|/))(?:(?:,[ ]*|[ ]+(?:of[ ]+)?)(?:{_YEAR}|['’]\d\d)\b)?", 0.9),
    _rule("date_day_month", "DATE", rf"\b{_DAY}(?:[ ]+(?:of[ ]+)?|[-/.]){_MONTH}(?:(?:,?[ ]+|[-/.]){_YEAR2})?(?![\w])", 0.9),
    _rule("date_in_words", "DATE", rf"\b{_LONG_MONTH}[ ]+(?:the[ ]+)?(?:{_DAY_IN_WORDS})\b(?:,?[ ]+(?:of[ ]+)?{_YEAR_IN_WORDS}\b)?", 0.9),
    _rule("month_and_year_in_words", "DATE", rf"\b{_LONG_MONTH},?[ ]+(?:of[ ]+)?{_YEAR_IN_WORDS}\b", 0.9),
    _rule("date_month_year", "DATE", rf"\b{_MONTH}(?:,?[ ]+(?:of[ ]+)?|[-/]){_YEAR}\b", 0.9),
    _rule("date_numeric_month_year", "DATE", rf"(?<![\d/.-])(?:0?[1-9]|1[0-2])[/-]{_YEAR}\b", 0.8),
    _rule("date_month", "DATE", rf"""
        \b(?i:in|since|until|till|by|of|from|before|after|during|around|on|(?=last|this|next|early|late|mid))[ -]?
        (?P<value>(?:(?i:last|this|next|early|late|mid)[ -])?{_LONG_MONTH})\b(?![ ](?:be|have|need|also|take|not))""", 0.7, re.NOFLAG),
    _rule("date_day_of_month", "DATE", rf"""
        \b(?:on|since|dated?|by|until)[ ](?:the[ ])?(?P<value>(?:0?[1-9]|1[0-2])[/-]{_NUMBER})(?![\d/.-]|[ ](?:scale|pain))""",
        0.7),
    _rule("birth_date", "DATE", r"\b(?:dob|d\.o\.b\.|date[ ]of[ ]birth|born(?:[ ]on)?)[:\s]+(?P<value>[\d][\d/.-]{5,9})", 0.9),
    # Ages over 89
    _rule("age_over_89", "AGE", rf"\b{_OVER_89}[- ]?(?:years?|yrs?|y/?o)\b(?:[- ]?(?:old|of[ ]age)\b)?", 0.9),
    _rule("aged_over_89", "AGE", rf"\b(?:age[d]?|turn(?:ed|ing|s)|age[ ]is)[: ]+(?:of[ ])?(?P<value>{_OVER_89})\b(?!\s?%)", 0.9),
    # Contacts
    _rule("phone", "PHONE", r"""
        (?<![\w-])(?:\+?\d{1,2}[ .-]?)?(?:\(\d{3}\)[ ]?|\d{3}[ .-])\d{3}[ .-]\d{4}(?:[ ]?(?:x|ext\.?)[ ]?\d{1,6})?(?![\w-])""",
        0.8),
    _rule("phone_local", "PHONE", r"\b(?:phone|tel|telephone|cell|mobile|fax|call|callback|pager|ext)[.:]?\s+(?:at[ ])?"
          r"(?P<value>\d{3}[-. ]\d{4})\b", 0.8),
    _rule("email", "EMAIL", r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b", 0.95),
    _rule("web_address", "URL", r"\b(?:https?://|www\.)[^\s<>()\[\]]+[^\s<>()\[\].,;:!?'\"]", 0.95),
    # Numbers
    _rule("social_security_number", "SSN", r"(?<![\w-])\d{3}[- ]\d{2}[- ]\d{4}(?![\w-])", 0.9),
    _rule("social_security_context", "SSN", r"\b(?:ssn|social[ ]security(?:[ ](?:number|no\.?))?)\W{1,3}(?:is[ ])?(?P<value>\d{9})\b",
          0.9),
    _rule("number_with_context", "ID", rf"""
        \b{_ID_WORD}\b(?:[ ](?:number|no\.?|num|id|identifier|code|card))?(?:[ ]is|[ ]was)?\s?[:\#=,(]{{0,2}}\s?
        (?P<value>(?=[\w\#/.-]*\d[\w/.-]*\d[\w/.-]*\d){_CODE})(?![\w%]|[ ]?(?:mg|mcg|ml|years?|weeks?|days?|months?)\b)""", 0.8),
    _rule("number_after_hash", "ID", r"\#[ ]?(?=[A-Z0-9-]*\d{3})[A-Z0-9][A-Z0-9-]{4,}\b", 0.7),
    _rule("lettered_number", "ID", r"(?<![\w-])[A-Z]{1,5}-?\d{5,}(?:-[A-Z\d]+)*(?![\w-])", 0.6, re.NOFLAG),
    _rule("number_in_parts", "ID", r"(?<![\w./-])(?:\d{3}-\d{3}-\d{3}|\d{4}-\d{4}|\d{5,}-[A-Z]{2,})(?![\w-])", 0.6, re.NOFLAG),
    _rule("long_number", "ID", r"(?<![\w.,/$-])\d{7,}(?![\w%]|[.,]\d)", 0.5),
)  # fmt: skip
