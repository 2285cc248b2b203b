"""Rules for places smaller than a state, and for facilities and employers.

Identifier B of 45 CFR 164.514(b)(2)(i): street, city, county, precinct, ZIP code. The state is kept.
"""

# ruff: noqa: E501 (a pattern is easier to read on one line)

import re

from fine_tune_assets.phi.recognizers.rules.name_rules import CAPITALISED
from fine_tune_assets.phi.recognizers.rules.rule import Rule, build_rule
from fine_tune_assets.phi.spans.identifier_words import FIFTY_STATES

_STREET = (
    r"(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Circle|Cir|Place|Pl|Terrace|Ter|Way"
    r"|Parkway|Pkwy|Highway|Hwy|Square|Sq|Trail|Trl|Row|Close|Crescent|Alley|Loop|Pike|Turnpike|Plaza|Path|Run|Ridge|Point|Cove)"
)
_STATE = r"(?:A[KLRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|PA|RI|S[CD]|T[NX]|UT|V[AT]|W[AIVY]|PR|GU|VI)"
_STATE_NAME = f"(?:{'|'.join(sorted(FIFTY_STATES)).replace(' ', '[ ]')})"
_ZIP = r"\d{5}(?:-\d{4})?"

RULES: tuple[Rule, ...] = (
    build_rule("street_address", "LOCATION", rf"""
        \b\d{{1,6}}[A-Za-z]?[ ](?:(?:N|S|E|W|NE|NW|SE|SW|North|South|East|West)\.?[ ])?
        (?:(?:[A-Z][\w'’]*|\d+(?:st|nd|rd|th)|of|the)[ ]){{1,4}}?{_STREET}\b(?:\.(?=,|\s|$))?
        (?:,?[ ](?:Apt|Apartment|Suite|Ste|Unit|Room|Floor|\#)\.?[ ]?\#?\w+)?
        (?:,?[ \n]{CAPITALISED}(?:[ ]{CAPITALISED}){{0,2}}(?=,[ ]{_STATE}\b|[ ]{_STATE}[ ]\d))?(?:,?[ ]{_STATE}\b)?(?:,?[ ]{_ZIP})?""",
        0.9, re.NOFLAG),
    build_rule("street_without_number", "LOCATION", rf"(?:on|off|near|along|at|from|to|of|down|across)[ ](?P<value>{CAPITALISED}[ ](?:{CAPITALISED}[ ])?(?:Street|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Parkway|Pkwy|Highway|Turnpike|Terrace|Drive)\b)(?![ ](?:Clinic|Hospital|Medical))", 0.7, re.NOFLAG),
    build_rule("motorway_exit", "LOCATION", r"[Ee]xit[ ]\d{1,3}[A-Z]?\b(?![ ]?(?:mm|cm|%))", 0.7, re.NOFLAG, context_before=r"\b(?:near|at|off|past|by|before|after|from)[ ]"),
    build_rule("po_box", "LOCATION", rf"\bP\.?\ ?O\.?\ ?Box[ ]\#?\d+\b(?:,?[ ]{CAPITALISED}(?:[ ]{CAPITALISED})?,?[ ]{_STATE}[ ]{_ZIP})?", 0.9, re.NOFLAG),
    build_rule("city_state", "LOCATION", rf"""
        \b{CAPITALISED}(?:[ ]{CAPITALISED}){{0,2}},[ ](?:{_STATE}\b(?![.]\w|-C\b)|{_STATE_NAME}\b)(?:,?[ ]{_ZIP}\b)?""", 0.75, re.NOFLAG),
    # As long as `city_state`, with a higher score: MD and PA are degrees too, and two words before one without a ZIP code are a
    # person.
    build_rule("name_and_degree", "NAME", rf"""
        \b{CAPITALISED}(?:[ ]{CAPITALISED}){{1,2}}
        (?<!Park)(?<!City)(?<!Hall)(?<!Heights)(?<!Springs)(?<!Spring)(?<!Beach)(?<!Hills)(?<!Hill)(?<!Burnie)(?<!Chase)(?<!Grove)(?<!Township)(?<!Falls)(?<!Valley)
        ,[ ](?:MD|PA)\b(?!,?[ ]\d|[.]\w)""", 0.76, re.NOFLAG, context_before=r"(?<!\bin[ ])(?<!\bfrom[ ])(?<!\bnear[ ])(?<!\bto[ ])(?<!\bof[ ])"),
    build_rule("zip_code", "LOCATION", rf"\b(?:(?i:zip(?:[ ]?code)?|postal[ ]code|postcode)(?:[ ]is|[ ]of)?[:= ]+|(?:{_STATE}|{_STATE_NAME}),?[ ])(?P<value>{_ZIP})\b", 0.9, re.NOFLAG),
    build_rule("zip_plus_four", "LOCATION", r"(?<![\w-])\d{5}-\d{4}(?![\w-])", 0.7),
    build_rule("uk_postcode", "LOCATION", r"\b[A-Z]{1,2}\d[A-Z\d]?[ ]\d[ABD-HJLNP-UW-Z]{2}\b", 0.7, re.NOFLAG),
    build_rule("county", "LOCATION", rf"\b{CAPITALISED}(?:[ ]{CAPITALISED})?[ ](?:County|Parish|Township|Borough)\b(?![ ](?:Hospital|Medical|Jail))", 0.7, re.NOFLAG),
    build_rule("saint_site", "FACILITY", r"\b(?:St\.?|Saint|Mount|Mt\.?)[ ][A-Z][\w]+(?:['’]s?)?(?=\W|$)", 0.7, re.NOFLAG),
    build_rule("university", "FACILITY", rf"\b(?:University[ ]of[ ]{CAPITALISED}(?:[ ]{CAPITALISED}){{0,2}}|{CAPITALISED}(?:[ ]{CAPITALISED})?[ ](?:University|College|High[ ]School|Elementary(?:[ ]School)?))\b", 0.7, re.NOFLAG),
    build_rule("company", "FACILITY", rf"\b{CAPITALISED}(?:[ ,&-]{{1,3}}(?:and[ ])?{CAPITALISED}){{0,3}}[ ,]{{1,2}}(?:Inc|LLC|Ltd|PLC|Corp|GmbH|LLP)\b\.?", 0.8, re.NOFLAG),
)  # fmt: skip
