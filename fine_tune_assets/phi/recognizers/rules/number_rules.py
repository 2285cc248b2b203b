"""Rules for numbers that identify a person or a case: SSN, account, licence, vehicle and others.

Identifiers G to M and R of 45 CFR 164.514(b)(2)(i). Most numbers get their kind from the word before them; a few have a form of
their own.
"""

# ruff: noqa: E501 (a pattern is easier to read on one line)

import re

from fine_tune_assets.phi.recognizers.rules.rule import Rule, build_rule

_UNIT = r"(?:mg|mcg|ug|µg|g|kg|lbs?|ml|cc|l|dl|mm|cm|m|mmhg|bpm|meq|mmol|iu|units?|years?|yrs?|y/?o|weeks?|wks?|days?|hours?|hrs?|minutes?|mins?|months?|times?|tablets?|tabs?|pills?|percent|degrees|fr|french|gauge|points?)\b"
_CODE = rf"(?:\#[ ]?)?(?=[\w./-]*\d)[A-Z0-9](?:[A-Z0-9_]|[-/.](?=[A-Z0-9])|[ ](?=\d{{2,}}\b(?![ ]?{_UNIT})))*"
_VALUE = rf"(?P<value>(?!(?:19|20)\d\d(?![\w/-]|\.\d))(?!\d{{1,3}}-(?:year|yr|week|wk|month|day|hour|mg|ml))(?!\d{{1,2}}[/.-]\d{{1,2}}(?:[/.-]\d{{2,4}})?\b(?!-))(?=[\w\#/.-]*\d[\w/.-]*\d){_CODE})(?![\w%]|:\d\d|[ ]of[ ]\d|[ ]?{_UNIT})"
_LINK = (
    r"(?:[ ]?(?:number|numbers|no\b\.?|num\b\.?|nr\b\.?|id|identifier|code|card|key|ref|reference|\#))*"
    r"(?:[ ](?:is|was|of|on[ ]file|as|under|listed[ ]as|reads|ending[ ]in))*[ ]?(?:\([^)\d]{1,12}\))?[ ]?[:\#=|>,]{0,3}[\s(\"']{0,2}"
)


def build_number_rule(name: str, label: str, words: str, score: float = 0.85) -> Rule:
    """A number after one of the words, which are alternatives of a regular expression."""
    return build_rule(name, label, rf"(?<![\w-])(?:{words})(?![\w-]){_LINK}{_VALUE}", score)


RULES: tuple[Rule, ...] = (
    build_rule("social_security_number", "SSN", r"(?<![\w.-])(?:\d{3}|[X*]{3})[- .–](?:\d{2}|[X*]{2})[- .–]\d{4}(?![\w-]|\.\d)", 0.9),
    build_rule("social_security_context", "SSN", r"\b(?:ssn|ss\#|social[ ]security|s\.s\.n\.?|soc(?:ial)?[ ]sec)(?:[ ](?:number|no\.?|num|\#))?(?:[ ](?:field|on[ ]file))?(?:[ ](?:is|was|ends?[ ](?:in|with)|ending[ ](?:in|with)))*\W{0,4}(?P<value>(?:[\dX*][\dX*\W]{0,2}){3,8}\d)\b", 0.9),
    build_rule("social_security_last_four", "SSN", r"\blast[ ](?:4|four)(?:[ ](?:digits))?(?:[ ]of)?(?:[ ](?:ssn|social(?:[ ]security)?(?:[ ]number)?))?[ :=(is]{1,6}(?P<value>\d{4})\b", 0.8),
    build_number_rule("account_number", "ACCOUNT", r"account|acct\.?|billing|invoice|statement|guarantor|ledger|bank|iban|routing|credit[ ]card|card"),
    build_number_rule("licence_number", "LICENSE", r"(?:medical[ ]|driver'?s?[ ]|nursing[ ])?licen[sc]e[d]?|lic\.?|certificat(?:e|ion)|npi|dea|upin|registration|permit|diploma"),
    build_number_rule("vehicle_number", "VEHICLE", r"vin|(?:licen[sc]e[ ])?plate|vehicle(?:[ ](?:identification|registration))?|registration[ ]plate"),
    build_number_rule("unique_number", "ID", r"accession|acc\#?|specimen|sample|encounter|visit|claim|prescription|rx|case|study|order|req(?:uisition)?|ticket|confirmation|auth(?:orization)?|referral|reference|ref\.?|badge|employee|passport|tracking|identifier|identity|id|sin|nhs|booking|session|incident|barcode|request|protocol[ ]number|trial[ ]id|subject|participant|enrollment|token|csn|dod[ ]id|military[ ]id|student|voter"),
    build_rule("vin", "VEHICLE", r"(?<![\w-])(?=[A-HJ-NPR-Z]*\d)(?=\d*[A-HJ-NPR-Z])(?=(?:\w*\d){4})[A-HJ-NPR-Z0-9]{17}(?![\w-])", 0.9, re.NOFLAG),
    build_rule("number_after_hash", "ID", r"(?<![\w&])\#[ ]?(?=[A-Z0-9-]*\d{3})[A-Z0-9][A-Z0-9-]{3,}\b", 0.7),
    build_rule("alphanumeric_id", "ID", r"(?<![\w-])(?!ICD|CPT|HLA|NCT)[A-Z]{1,5}-?\d{5,}(?:-[A-Z\d]+)*(?![\w-])", 0.6, re.NOFLAG),
    build_rule("hyphenated_alphanumeric_id", "ID", r"(?<![\w-])(?!COVID|SARS|HLA|IL|CD|PD|CTLA|BRCA|COX|GLP|SGLT|NYHA|T2|ICD|CPT)[A-Z]{2,5}-(?:\d{2,6}|[A-Z0-9]{1,6})-[A-Z0-9]*\d[A-Z0-9]*(?:-[A-Z0-9]+)*(?![\w-])", 0.6, re.NOFLAG),
    build_rule("hyphenated_number", "ID", r"(?<![\w./-])(?:\d{3}-\d{2,3}-\d{3}|\d{4}-\d{4}|\d{3}-\d{2}-\d{2,4}|\d{5,}-[A-Z\d]{2,}|\d{2}-\d{3,}-\d{2,})(?![\w-]|/\d)", 0.6, re.NOFLAG),
    build_rule("grouped_card_number", "ACCOUNT", r"(?<![\w-])\d{4}[- ]\d{4}[- ]\d{4}[- ]\d{3,4}(?![\w-])", 0.9),
    build_rule("long_number", "ID", r"(?<![\w.,/$€£-])(?<!pmid[ ])(?<!pmid:[ ])(?<!pmid:)\d{7,}(?![\w%]|[.,]\d|[ ]?(?:cells|copies|patients|IU|units|CFU))", 0.5),
)  # fmt: skip
