"""Rules for contact details: telephone, fax, e-mail, web and network addresses.

Identifiers D, E, F, N and O of 45 CFR 164.514(b)(2)(i).
"""

# ruff: noqa: E501, SIM905 (a pattern is easier to read on one line, words as text)

import re

from fine_tune_assets.phi.recognizers.rules.rule import Rule, any_of, build_rule

_PHONE_LABEL = r"(?:phone|tel|telephone|ph|cell|mobile|home|work|call|calls?[ ]back|callback|contact|reach(?:ed)?|pager|beeper|text|number)"
_US_PHONE = r"(?:\+?1[ .-]?)?(?:\(\d{3}\)[ .-]?|\d{3}[ ]?[.\-–•·][ ]?|\d{3}[ ])\d{3}(?:[ ]?[.\-–•·][ ]?|[ ])\d{4}"
_EXTENSION = r"(?:,?[ ]?(?:x|ext\.?|extension)[ :]?\d{1,6})?"
_TLD = (
    r"(?:com|org|net|edu|gov|mil|info|biz|io|co|us|uk|ca|de|fr|es|health|care|clinic|app|me|example|test|local|invalid)"
)
_DIGIT = r"zero|oh|one|two|three|four|five|six|seven|eight|nine|double|triple"
_LETTER_WORD = (
    r"alpha|bravo|charlie|delta|echo|foxtrot|golf|hotel|india|juliet|kilo|lima|mike|november|oscar|papa|quebec|romeo|sierra|tango"
    r"|uniform|victor|whiskey|x-?ray|yankee|zulu"
)
_SPELLED_NUMBER_LABEL = any_of(
    """record account member membership policy claim case confirmation reference authorization group chart file order ticket
    prescription license licence extension mrn""".split()
)

RULES: tuple[Rule, ...] = (
    build_rule("fax", "FAX", rf"\bfax(?:ed)?(?:[ ](?:number|no\.?|is|to|at|it[ ]to))*[.:\#= ]+(?P<value>(?:{_US_PHONE}|\+\d[\d ()-]{{8,16}}\d|\d{{3}}[-. ]\d{{4}}|\d{{10,11}}){_EXTENSION})\b", 0.9),
    build_rule("phone", "PHONE", rf"(?<![\w.-]){_US_PHONE}{_EXTENSION}(?![\w-]|\.\d)", 0.8),
    build_rule("phone_international", "PHONE", r"(?<![\w+])\+\d{1,3}[ .-]?\(?\d{1,4}\)?(?:[ .-]?\d{2,5}){2,4}\b", 0.85),
    build_rule("phone_local", "PHONE", rf"\b{_PHONE_LABEL}[.:]?(?:[ ](?:is|at|number|no\.?|\#|me|us|him|her|on))*[:= ]+(?P<value>\d{{3}}[-. ]\d{{4}}|\(?\d{{3}}\)?\d{{7}}|1?\d{{10}})\b", 0.8),
    build_rule("phone_555", "PHONE", r"(?<![\w-])555-\d{4}(?![\w-])", 0.8),
    # The national form outside North America: 06 - 123 45 678. Two clock times look alike.
    build_rule("phone_national", "PHONE", r"(?<![\w.,/+:-])(?!(?:[01]\d|2[0-3])[0-5]\d[ ]?[-–/ ][ ]?(?:[01]\d|2[0-3])[0-5]\d\b)(?=(?:[ ()/–.-]{0,3}\d){9,12}(?![ ./-]?\d))\(?0\d{1,4}\)?(?:[ ]?[-–/][ ]?|[ ])\d{2,8}(?:[ .-]\d{2,5}){0,4}(?![\w-]|[.,/]\d)", 0.75),
    build_rule("phone_in_brackets", "PHONE", r"\(\d{3}\)[ ]?\d{3}[ .-]?\d{4}\b", 0.9),
    build_rule("phone_extension", "PHONE", r"\b(?:ext\.?|extension|pager|beeper)[ :\#]*(?P<value>\d{3,6})\b", 0.7),
    build_rule("extension_after_letter", "PHONE", r"(?<![\w.])[xp](?P<value>\d{4,5})\b(?<![1-9]000)(?<!0000)(?![ ]?(?:mg|mcg|ml|units?|iu|g\b|days?|cells|magnif|rpm|[/%x×])|[.,]\d)", 0.7, re.NOFLAG),
    # Counting aloud matches without the group `value`, so it yields no finding.
    build_rule("phone_in_words", "PHONE", rf"(?<![\w-])(?:one[ ,]+two[ ,]+three[ ,]+four[ ,]+five(?:[ ,-]+(?:{_DIGIT}))*|(?P<value>(?:{_DIGIT})(?:[ ,-]+(?:{_DIGIT})){{5,}})(?![\w-]))", 0.8),
    build_rule("record_number_in_words", "ID", rf"(?:{_SPELLED_NUMBER_LABEL})(?:[ ](?:number|no|id))*(?:[ ]is)?[ ,:]+(?P<value>(?=(?:[a-z]+[ ,-]+){{0,7}}?(?:{_DIGIT})[ ,-]+(?:{_DIGIT})[ ,-]+(?:{_DIGIT})\b)(?:(?:[a-z]{{1,2}}(?<!is)|as|dash|hyphen|slash|{_LETTER_WORD}|{_DIGIT})[ ,-]+){{2,14}}(?:{_DIGIT}))(?![\w-])", 0.8, re.NOFLAG),
    build_rule("email", "EMAIL", r"[\w.+%-]+@[\w-]+(?:\.[\w-]+)+", 0.95),
    build_rule("email_in_words", "EMAIL", rf"\b[\w.]+(?:[ ](?:dot|underscore)[ ]\w+)*[ ]?(?:[(\[{{]at[)\]}}][ ]?[\w-]+(?:\.[\w-]+)+|(?:\(at\)|\[at\]|[ ]at[ ])[ ]?\w+(?:[ ]?(?:\(dot\)|\[dot\]|[ ]dot[ ])[ ]?\w+)*[ ]?(?:\(dot\)|\[dot\]|[ ]dot[ ])[ ]?{_TLD}\b)", 0.8),
    build_rule("web_address", "URL", r"\b(?:https?|ftp)://[^\s<>()\[\]\"]{1,2000}[^\s<>()\[\].,;:!?'\"]|\bwww\.[^\s<>()\[\]\"]{1,2000}[^\s<>()\[\].,;:!?'\"]", 0.95),
    build_rule("domain", "URL", rf"(?<![\w@.-])(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+{_TLD}(?:/[^\s<>()\[\]\"]{{0,2000}}[^\s<>()\[\].,;:!?'\"])?(?![\w-]|\.\w)", 0.8),
    build_rule("ip_address", "IP", r"(?<![\w.-])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:/\d\d?|:\d{2,5})?(?![\w-]|\.\d)", 0.9),
    build_rule("ipv6_address", "IP", r"(?<![\w:])(?:[0-9a-f]{1,4}:){3,7}(?::?[0-9a-f]{1,4})+(?![\w:])|(?<![\w:])(?:[0-9a-f]{1,4}:){1,6}:(?:[0-9a-f]{1,4}(?::[0-9a-f]{1,4})*)?(?![\w:])", 0.85),
    build_rule("mac_address", "DEVICE", r"(?<![\w:-])(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}(?![\w:-])", 0.9),
)  # fmt: skip
