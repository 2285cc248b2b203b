"""Rules for dates, but not for bare years, durations or times of day; and for ages over 89 and what reveals them.

45 CFR 164.514(b)(2)(i)(C): all elements of dates except the year, and all ages over 89.
"""

# ruff: noqa: E501 (a pattern is easier to read on one line)

import re

from fine_tune_assets.core.word_lists import read_lists
from fine_tune_assets.phi.recognizers.rules.rule import Rule, any_of, build_rule
from fine_tune_assets.phi.recognizers.short_dates import NO_NUMBER_BEFORE, NO_QUANTITY_AFTER
from fine_tune_assets.quantities.dates import DATE_WORDS_FILE
from fine_tune_assets.quantities.spelled_numbers import TENS, UNITS, spell_ordinal

MONTH = (
    r"(?:jan(?:uary|\.)?|feb(?:ruary|\.)?|mar(?:ch|\.)?|apr(?:il|\.)?|may|june?\.?|july?\.?|aug(?:ust|\.)?"
    r"|sept?(?:ember|\.)?|oct(?:ober|\.)?|nov(?:ember|\.)?|dec(?:ember|\.)?)"
)
_LONG_MONTH = r"(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_WEEKDAY = r"(?:(?:mon|tues|wednes|thurs|fri|satur|sun)day|(?:mon|tues?|wed|thurs?|fri|sat|sun)\b\.?)"
_YEAR = r"(?:19|20)\d\d"
_SHORT_YEAR = rf"(?:{_YEAR}|['’]?\d\d)"
ANY_WEEKDAY = r"mon|tues?|weds?|thurs?|fri|sat|sun|(?:mon|tues|wednes|thurs|fri|satur|sun)day"
NUMBER = r"(?:0?[1-9]|[12]\d|3[01])"
MONTH_NUMBER = r"(?:0?[1-9]|1[0-2])"
_DAY = rf"{NUMBER}(?:st|nd|rd|th)?"
_UNIT = f"(?:{'|'.join(UNITS[1:10])})"
_TEENS = f"(?:{'|'.join(UNITS[10:])})"
_TENS = f"(?:{'|'.join(TENS)})"
_BELOW_100 = rf"(?:{_TENS}(?:[- ]{_UNIT})?|{_TEENS}|(?:oh[- ])?{_UNIT})"
_UNIT_ORDINAL, _LARGER_ORDINAL = ("|".join(map(spell_ordinal, days)) for days in (range(1, 10), (*range(10, 21), 30)))
_ORDINAL = rf"(?:(?:(?:twenty|thirty)[- ])?(?:{_UNIT_ORDINAL})|{_LARGER_ORDINAL})"
_YEAR_IN_WORDS = (
    rf"(?:two[ ]thousand(?:[ ](?:and[ ])?{_BELOW_100})?|(?:nineteen|twenty)[ ](?:hundred[ ](?:and[ ])?)?{_BELOW_100})"
)
_OVER_89 = (
    rf"(?:9\d|1[0-2]\d|ninety(?:[-\s]{_UNIT})?"
    rf"|(?:one|a)[-\s]hundred(?:[-\s](?:and[-\s])?(?:{'|'.join(UNITS[1:13])}))?)"
)
_NO_QUANTITY = r"(?![ -]?(?:mg|mcg|ml|g|units?|%|x\b|/[ ]?\d))"

_DATE_WORDS = read_lists(DATE_WORDS_FILE)
_HOLIDAY_NAMES = _DATE_WORDS["holidays"]


_HOLIDAY_SPELLINGS = any_of(
    [
        *_HOLIDAY_NAMES,
        *(n.upper() for n in _HOLIDAY_NAMES if not {*n} & {"?", "\\"}),
        *map(str.lower, _DATE_WORDS["holidays_in_small_letters"]),
    ]
)
_HOLIDAY = rf"(?:{_HOLIDAY_SPELLINGS})(?![\w]|[ '’]*s?[ ](?i:tree|disease|factor|island|seal|cactus|rose|lily|lights|present|gift|party|dinner|egg|bunny))"
_DAY_CONTEXT = (
    r"\b(?:(?:on|from|since|until|till|by|before|after|through|thru|around|due|and|to|between)[ ]the[ ]"
    rf"|(?:{ANY_WEEKDAY}),?[ ](?:the[ ])?)"
)
_CLAUSE_AFTER = (
    r"(?!(?:,?[ ](?:(?:and|or|to|through|&)[ ])?(?:the[ ])?\d+(?:th|st|nd|rd)\b)+[ ](?!(?:was|were|and|or|to|he|she|they|we|with|when|of)\b))"
    r"(?=\s*(?:\Z|[.,;:!?)\n]|\b(?:was|were|is|had|he|she|they|i|we|it|his|her|and|to|at|with|when|because|but|for|which|showed|then|so|after|before|if|the[ ]patient"
    r"|of[ ](?:this|last|next|the)[ ]month)\b))(?!(?:,|[ ](?:and|or))[ ](?:digit|finger|toe|rib|metatarsal|metacarpal|ray|web|floor|line|degree))"
)
_SPOKEN_DATE_WORD = rf"(?:{_LONG_MONTH}|{_ORDINAL}|{_BELOW_100}|zero|hundred|thousand)"

RULES: tuple[Rule, ...] = (
    build_rule("date_iso", "DATE", rf"(?<![\d.-]){_YEAR}([-/.]){MONTH_NUMBER}\1{NUMBER}(?:[T ]\d\d:\d\d(?::\d\d)?(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?)?(?!\d)", 0.95),
    build_rule("date_numeric", "DATE", rf"(?<![\d/.-]){NUMBER}[ ]?([/.-])[ ]?{NUMBER}[ ]?\1[ ]?(?:{_YEAR}|\d\d)(?![\d/]|-\d|\.\d)", 0.9),
    build_rule("date_month_day", "DATE", rf"\b(?:{_WEEKDAY},?[ ]+)?{MONTH}[ ]*(?:the[ ])?{_DAY}\b(?:[ ]?(?:-|–|to|and|or|&)[ ]?{_DAY}\b(?!\.?\d))?{_NO_QUANTITY}(?:(?:,[ ]*|[ ]+(?:of[ ]+|in[ ]+)?)(?:{_YEAR}|['’]\d\d)\b)?", 0.9),
    build_rule("date_day_month", "DATE", rf"(?<![\w.])(?:{_WEEKDAY},?[ ]+)?(?:the[ ])?{_DAY}(?:[ ]+(?:day[ ]+)?(?:of[ ]+)?|[-/.]?){MONTH}(?:(?:,?[ ]+|[-/.]?){_SHORT_YEAR})?(?![\w])", 0.9),
    build_rule("date_in_words", "DATE", rf"\b{_LONG_MONTH}[ ]+(?:the[ ]+)?{_ORDINAL}\b(?:,?[ ]+(?:of[ ]+|in[ ]+)?(?:{_YEAR_IN_WORDS}|{_YEAR})\b)?", 0.9),
    build_rule("day_of_month_in_words", "DATE", rf"\b(?:the[ ]+)?{_ORDINAL}[ ]+(?:day[ ]+)?of[ ]+{_LONG_MONTH}\b(?:,?[ ]+(?:of[ ]+|in[ ]+)?(?:{_YEAR_IN_WORDS}|{_YEAR})\b)?", 0.9),
    build_rule("month_and_year_in_words", "DATE", rf"\b{_LONG_MONTH},?[ ]+(?:of[ ]+)?{_YEAR_IN_WORDS}\b", 0.9),
    build_rule("date_month_year", "DATE", rf"\b{MONTH}(?:,?[ ]+(?:of[ ]+|in[ ]+)?|[-/]|[ ]?['’])(?:{_YEAR}|(?<=['’])\d\d)\b", 0.9),
    build_rule("date_numeric_month_year", "DATE", rf"(?<![\d/.-]){MONTH_NUMBER}[/-]{_YEAR}\b", 0.8),
    build_rule("date_month", "DATE", rf"""
        \b(?i:in|since|until|till|by|of|from|before|after|during|around|on|through|to|(?=last|this|next|early|late|mid))[ -]?
        (?P<value>(?:(?i:last|this|next|early|late|mid)[ -])?{_LONG_MONTH})\b(?![ ](?:be|have|need|also|take|not))""", 0.7, re.NOFLAG),
    build_rule("month_range", "DATE", rf"\b(?P<value>{_LONG_MONTH}[ ](?:and|to|through|until|or)[ ]{_LONG_MONTH})\b", 0.7, re.NOFLAG),
    build_rule("date_month_day_numeric", "DATE", rf"""
        \b(?:on|since|dated?|by|until|till|from|before|after|through|thru|seen|visit|visited|admitted|discharged|dc'?d|d/c'?d|appt|appointment|surgery|dos|labs?|week[ ]of|born|exam(?:ined)?)
        [ :]+(?:the[ ]|on[ ])?(?P<value>{MONTH_NUMBER}[/-]{NUMBER}){NO_QUANTITY_AFTER}""",
        0.7),
    build_rule("month_in_any_case", "DATE", r"(?P<value>january|february|april|june|july|august|september|october|november|december|(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\b\.?)(?![\w'’]|[ ]\d)", 0.7, re.NOFLAG,
         context_before=r"\b(?:in|since|until|till|from|during|by|last|this|next|before|after|late|early|mid|back[ ]in)[ -]+"),
    build_rule("date_before_time", "DATE", rf"{NO_NUMBER_BEFORE}(?P<value>{MONTH_NUMBER}/{NUMBER})(?=,?[ ]+(?:at[ ]|@[ ]?)?(?:(?:[01]\d|2[0-3]):?[0-5]\d(?![\w/-]|\.\d)|\d:[0-5]\d\b|1?\d(?::\d\d)?[ ]?[ap]m\b))", 0.7,
         context_before=r"(?<!strength)(?<!pain)(?<!score)(?<!motor)(?<!grade)(?<!power)(?<!bp)(?<!apgar)(?<!apgars)(?<!gcs)(?<!scale)(?<!rated)(?<!down[ ]to)(?<!now)(?:[\s:=(,;@|]+|^)"),
    build_rule("holiday", "DATE", _HOLIDAY, 0.8, re.NOFLAG),
    build_rule("ordinal_day", "DATE", rf"(?<!\w)(?P<value>(?:[12]?(?:1st|2nd|3rd|[4-9]th)|[123]0th|1[1-3]th)){_CLAUSE_AFTER}", 0.7, context_before=_DAY_CONTEXT),
    build_rule("ordinal_day_in_words", "DATE", rf"[ ](?P<value>(?:twenty|thirty)[- ](?:{_UNIT_ORDINAL})|(?:four|fif|six|seven|eigh|nin|ten|eleven|twelf|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen|twentie|thirtie)th){_CLAUSE_AFTER}", 0.7,
         context_before=r"\b(?:on|from|since|until|till|by|before|after|through|around|and|to)[ ]the[ ]"),
    build_rule("birth_date_in_words", "DATE", rf"[dDbB](?<!\w\w)(?i:ob|[ .]o[ .]b\.?|ate[ ]of[ ]birth|irth[ ]?date|irthday|orn)[:,]?[ ]+(?i:is[ ]|was[ ]|on[ ])?(?:the[ ])?(?P<value>(?i:{_SPOKEN_DATE_WORD}(?:[ ,]+(?:(?:the|and|of)[ ])?{_SPOKEN_DATE_WORD}){{2,9}}))\b", 0.9, re.NOFLAG),
    build_rule("weekday", "DATE", r"\b(?:on|last|this|next|since|until|by)[ ](?P<value>(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day)\b(?!['’])", 0.5, re.NOFLAG),
    build_rule("birth_date", "DATE", r"\b(?:dob|d\.o\.b\.?|date[ ]of[ ]birth|birth[ ]?date|birthday|born(?:[ ]on)?)(?:[ ]is|[ ]was)?[:\s=|]+(?P<value>[\d][\d/. -]{4,9}\d)\b", 0.9),
    build_rule("date_compact", "DATE", rf"\b(?:dob|date|dos|on|dated|collected|received|admit(?:ted)?|discharged?)[:\s=|]+(?P<value>{_YEAR}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:\d{{4}}(?:\d\d)?)?)\b", 0.8),
    # Ages over 89
    build_rule("age_over_89", "AGE", rf"\b{_OVER_89}[- ]?(?:years?|yrs?|y[/.]?[ ]?o\b\.?|y\.?o\.?)(?:[- ]?(?:old|of[ ]age|young)\b)?", 0.9),
    build_rule("aged_over_89", "AGE", rf"\b(?:age[d]?|turn(?:ed|ing|s)|age[ ]is|age[ ]of|(?:died|passed(?:[ ]away)?|lived)[ ](?:at|to|until)(?:[ ]age)?)[:= ]+(?:of[ ])?(?P<value>{_OVER_89})\b(?!\s?%|/)", 0.9),
    build_rule("person_over_89", "AGE", rf"""
        \b(?:he|she|they|who|patient|pt|mother|father|mom|dad|wife|husband|spouse|sister|brother|aunt|uncle|grand(?:mother|father|ma|pa)|mr\.?[ ]\w+|mrs\.?[ ]\w+|ms\.?[ ]\w+)
        (?:[ ](?:is|was)|['’]s|(?<=\bhe)s|(?<=\bshe)s)[ ](?:now[ ]|already[ ]|almost[ ]|nearly[ ]|about[ ])?(?P<value>{_OVER_89})\b(?![ ]?(?:%|percent|kg|lbs?|pounds|mm|cm|mg|ml|bpm|degrees|on[ ]|/|-\d|\.\d|[x×]))""", 0.7),
    build_rule("age_at_death_over_89", "AGE", rf"(?<!\w)(?P<value>{_OVER_89})\b(?![ ]?(?:%|percent|kg|lbs?|mm|mg|bpm|degrees|/|[-:.]\d|[ap]m\b))", 0.8,
         context_before=r"\b(?:died|passed|lived|deceased|dead|death|buried)\b[^.;\n\d]{0,40}[ ]at[ ](?:the[ ])?(?:age[ ](?:of[ ])?)?"),
    build_rule("age_and_sex_over_89", "AGE", r"(?<![\w.-])(?<!temp )(?<!temperature )(?<!over )(?<!above )(?<!than )(?<!fever )(?<!fevers )(?<!temp of )(?<!fever of )(?<!T )(?<!Tmax )(?P<value>9\d|1[01]\d)[ ]?(?:yo|y/o)?[ ]?(?:[MF]|WM|WF|BM|BF|AAM|AAF)\b(?![/-])", 0.8, re.NOFLAG),
    build_rule("nineties", "AGE", r"\b(?:in[ ](?:his|her|their)[ ](?P<value>(?:early|mid|late)?[- ]?(?:90['’]?s|nineties|hundreds)))\b", 0.9),
    build_rule("nonagenarian", "AGE", r"\b(?:super)?(?:nonagenarian|centenarian)s?\b", 0.9),
    build_rule("birthday_over_89", "AGE", r"\b(?:9\dth|9[123](?:st|nd|rd)|1[01]\dth|ninet(?:ieth|y[- ]\w+th)|hundredth)(?=[ ]birthday)", 0.9),
    # Born up to 1940: 90 or older by 2030, whatever the date of the report.
    build_rule("birth_year_over_89", "AGE", r"\b(?:born|birth[ ]year|year[ ]of[ ]birth|yob)(?:[ ](?:in|is|was))?[: ]+(?P<value>1[89][0-3]\d|1940)\b(?![-/.]\d)", 0.9),
)  # fmt: skip
