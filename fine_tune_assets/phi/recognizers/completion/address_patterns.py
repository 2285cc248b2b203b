"""Regular expressions for the parts of an address that precede or follow a place, in the order of the text."""

# ruff: noqa: E501 (a pattern is easier to read on one line)

import re

from fine_tune_assets.core.bounded_patterns import compile_bounded
from fine_tune_assets.phi.recognizers.completion.identifier_parts import HOUSE_WORDS, STREET_STARTS, UNIT_WORDS

_CAPITALISED = r"[A-ZÀ-ÖØ-ÞĀ-žȘ-țẠ-ỹ][^\W\d_]*+(?:['’.-][^\W\d_]++){0,6}+"
_NUMBER = r"\d{1,5}[A-Za-z]?(?:[ ]?[/-][ ]?\w{1,5}){0,3}(?:[ ](?:bis|ter|quater)\b)?"
_UNIT = (
    rf"(?:(?:{UNIT_WORDS})\b\.?[ ]?(?:(?:No|Nr)\.?[ ]?|\#[ ]?)?(?:\d[\w/-]{{0,6}}|(?-i:[A-Z](?:[/-]?\d{{1,4}}[A-Z]?)?))(?!\w)"
    r"|(?:(?:Old|New)[ ])?(?:No|Nr|N[º°o])\.?[ ]?\d[\w/-]{0,7}(?!\w)"
    r"|(?:bajo|entresuelo|principal|[àáa]tico?|rez-de-chauss[ée]e|RDC|parterre|Hochparterre|Hinterhaus|Vorderhaus|Gartenhaus|Seitenfl[üu]gel|Hinterhof)(?:[ ](?:izq|dcha|dta|A|B|C|D)\b\.?)?"
    r"|(?:Ground|First|Second|Third|Fourth|Fifth|Top|Upper|Lower)[ ]Floor"
    r"|\d{1,3}(?:st|nd|rd|th)[ ](?:Floor|Fl|Cross|Main|Stage|Phase|Sector|Block)\b"
    r"|\d{1,2}(?:\.?[º°ª]\.?|\.|er|[èe]me)[ ]?(?:OG|DG|EG|[ÉEée]tage|[Pp]iso|andar|izq|dcha|dta|Esq|Dto|tv|th|[Ss]tock|sal)\b\.?)"
)
_POSTCODE = r"(?:[A-Z]{1,2}\d[A-Z\d]?[ ]?\d[A-Z]{2}|[A-Z]\d[A-Z][ ]?\d[A-Z]\d|[A-Z]\d[\dW][ ]?[\dA-Z]{4}|\d{4}[ ]?[A-Z]{2}|(?:[A-Z]{1,3}[- ])?\d{4,6}(?:-\d{3,4})?|\d{3}[ ]\d{2,3})"
_NAME = rf"{_CAPITALISED}(?:[ -](?:of|the|in|on|upon|y|de|la|le|les|der|den|am|an|im|{_CAPITALISED})){{0,4}}"
_START = r"(?:(?<![^\n])|[|:;(,\t][ ]?|(?<!\w)(?:at|of|in|to|is|by|on|near|from|and|address)[ ]+)"
UNIT_BEFORE = re.compile(rf"(?<![\w.]){_UNIT}(?:,[ ]?|[ ])\Z", re.IGNORECASE)
FLAT_CODE_BEFORE = re.compile(
    rf"{_START}(?P<part>(?:\d{{1,2}}[A-Z]{{1,2}}\d{{0,2}}|[A-Z]{{2}}\d{{1,2}}|\d{{1,2}}/\d{{1,2}})(?:[/-][A-Z\d]{{1,3}})?,[ ])\Z"
)
"""A flat of a tenement: 3F2, 61 Lauriston Wynd."""
NUMBERED_PART_BEFORE = re.compile(
    rf"{_START}(?P<part>(?P<words>{_CAPITALISED}(?:[ ]{_CAPITALISED}){{0,2}})[ ]\d{{1,4}}[A-Z]?,[ ])\Z"
)
"""A part of a site: Kiosk 7, 40 Harbour Road."""
OLD_OR_NEW_BEFORE = re.compile(r"(?<![\w])(?:Old|New)[ ]\Z")
UNIT_WORD_BEFORE = re.compile(
    rf"(?<![\w.])(?:(?:{UNIT_WORDS}|Old|New)\b\.?[ ]?)?(?:(?:No|Nr)|(?:(?<=at )|(?<=of )|(?<=, ))no)\.?[ ]\Z|(?<![\w.])(?:Flat|Apt|Apartment|Unit|Suite|Plot|House|Lot)\.?[ ]\Z"
)
NUMBER_BEFORE = re.compile(rf"{_START}(?P<number>{_NUMBER},?[ ])\Z")
STREET_BEFORE_POSTCODE = compile_bounded(rf"(?<![\w'’.-])(?P<name>{_NAME})[ ]{_NUMBER},?[ ]\Z")
NUMBER_BEFORE_POSTCODE = re.compile(rf"(?<=[^\W\d_.][ ]){_NUMBER},[ ]\Z")
STREET_START_BEFORE = re.compile(
    rf"(?<![\w.'’-])(?:{_NUMBER},?[ ])?(?:(?i:{STREET_STARTS})\.?|[cC]/)[ ](?:(?:San|Santa|Santo|Saint|Sainte|St)[ ])?(?:(?:d[eu]s?|de la|dell[ao]|da|do|dos|das|del|de los|de las)[ ])?\Z"
)
STREET_WORD_FIRST = re.compile(rf"(?!(?:Dr|St)\b)(?:{'|'.join(word.title() for word in sorted(HOUSE_WORDS))})\b")
WORDS_BEFORE_STREET = re.compile(rf"(?<![\w'’.-])(?:{_CAPITALISED}[ ]){{1,3}}\Z")
QUOTED_NAME_BEFORE = re.compile(rf"(?<!\w)[\"“‘'«](?P<name>{_NAME}),?[\"”’'»],?[ ]\Z")
"""The name of a house in quotation marks: "Bundilla", 1177 Old Road."""
NAME_BEFORE = compile_bounded(rf"(?<![\w'’.-])(?P<name>{_NAME}),[ ]\Z")
ARTICLE_BEFORE = re.compile(r"(?<![\w])(?:The|Tŷ|Ty)[ ]\Z|(?<![^\n])(?:By|Near|Nr\.?|Via|Opp\.?)[ ]\Z")
UNIT_AFTER = re.compile(rf"(?:,?[ ]){_UNIT}", re.IGNORECASE)
NUMBER_AFTER = re.compile(rf"[ ]{_NUMBER}(?=,[ ](?:{_POSTCODE}|{_CAPITALISED})(?![\w]))")
NUMBER_AND_POSTCODE_AFTER = re.compile(rf"[ ]{_NUMBER}(?=,?[ ]{_POSTCODE}[ ]{_CAPITALISED})")
WORD_AFTER = re.compile(rf"[ ](?P<word>{_CAPITALISED})(?=,|[ ]?\n|[ ]?\Z|[ ]{_POSTCODE}|\.(?!\w))")
TOWN_AFTER = re.compile(
    rf",[ ](?:(?:via|near|nr\.?)[ ])?(?P<name>{_NAME})(?!\w)(?=[ ]?(?:[,;)|\n]|\.(?!\w)|\Z)|[ ]{_POSTCODE}(?!\w))"
)
POSTCODE_AFTER = re.compile(rf",?[ ](?!(?:19|20)\d\d(?![\w-]|[ ][A-Z]{{2}}\b))(?:{_POSTCODE}(?!\w|[.,/]\d))")
REGION_AFTER = re.compile(r"[ ]\([A-Z]{2}\)")
CANTON_AFTER = re.compile(r"[ ](?P<canton>[A-Z]{2})(?=[ ]?[,.;)|\n]|\Z)")
CODE_AND_TOWN_AT_END = re.compile(r"(?<!\d)\d{4,5}[ ][^\W\d_]+(?:[ -][^\W\d_]+){0,3}\Z")
"""A canton or province follows without brackets: 1095 Lutry VD, 80131 Napoli NA."""
INITIALS_AT_END = compile_bounded(r"(?<!\w)(?:[A-Z]\.)+[A-Z]\Z")
"""A region whose full stop is part of it: A.P., N.T."""
ABBREVIATED = re.compile(rf"\b(?:[^\W\d_]|izq|dcha|dta|Esq|Dto|OG|St|Str|Ave?|Rd|Ln|Dr|Ct|Blvd|(?i:{UNIT_WORDS}))\Z")
PLAIN_GAP = re.compile(r"[ ,.-]*|,[ ](?:via|near|by)[ ]")
GAP = compile_bounded(
    rf"[ ,.-]*(?:(?:(?i:{_UNIT})|(?i:{UNIT_WORDS})|{_NUMBER}|(?:of|the|upon|de|du|del|la|le|des|y|zip|ZIP|PIN|(?<=,[ ])(?:via|near|by))|[A-Z]{{1,3}}\.?|{_CAPITALISED})[ ,.-]+){{0,3}}"
)
ADDRESS_FOLLOWS = re.compile(
    r"\b(?:at|address|premises|property|home|known as|resid\w+ (?:at|in)|r/o|lives in)[ \t]*(?:[.: ]{2,}|[|:])?[ \t]*\Z",
    re.I,
)
HOME_FOLLOWS = re.compile(r"\b(?:resid\w+ (?:at|in)|r/o|lives (?:at|in)|address[.: ]*)[ \t]*\Z", re.I)
HOUSE_NUMBER_GAP = re.compile(rf"[ ]{_NUMBER},[ ]")
HOUSE_NUMBER_AND_POSTCODE_GAP = re.compile(rf"[ ]{_NUMBER}(?:,?[ ](?i:{_UNIT}))?,[ ](?:{_POSTCODE}|\d\d-\d\d\d)[ ]")
UNIT_FIRST = re.compile(rf"\d|(?i:{_UNIT})")
WORDS = re.compile(r"[^\W\d_]+")
STARTS_AFTER_HOUSE_NUMBER = re.compile(
    r"(?:\d{4,6}|\d{2}-\d{3}|\d{3}[ ]\d{2,3})(?![\w-])|\d{1,2}(?:\.?[ ]?[º°ª]|\.[ ]?(?:OG|DG|EG|Stock|Etage)|(?:er|[èe]me?)[ ]?[ée]tage)"
)
WHOLE_POSTCODE = re.compile(_POSTCODE)
_SIDE = r"(?:links|rechts|lks|li|re|Mitte|izq|dcha|gauche|droite|[a-z]\.[a-z])\b\.?"
_CHAIN_UNIT = rf"(?:(?i:{_UNIT})(?:[ ]{_SIDE})?|\d{{1,2}}[a-zèª]{{1,2}}|[àáa]tic|[A-Z]{{1,3}}\.?)"
CHAIN_GAP = re.compile(
    rf"[ ]|[.][ ]|[ ]?[(]|[)],?[ ]|[ ]-[ ]|-|[.]?(?:,?[ ]{_NUMBER}(?=,))?(?:,[ ]{_CHAIN_UNIT}(?=[, ])){{0,3}},?[ ]"
)
"""What separates two parts of an address that were found separately."""
UNMISTAKABLE_POSTCODE = re.compile(
    r"(?<![\w-])(?:[A-Z]{1,2}\d[A-Z\d]?[ ]?\d[A-Z]{2}|[A-Z]\d[A-Z][ ]?\d[A-Z]\d|[A-Z]\d[\dW][ ]?[\dA-Z]{4}|[1-9]\d{3}[ ]?[A-Z]{2})(?![\w-])"
)
"""Letters and digits in the order of a British, Irish, Canadian or Dutch post code."""
