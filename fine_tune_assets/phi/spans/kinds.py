"""The kinds of identifiers that the scrubber tells apart, by the words that stand in their place.

Owns the list. 45 CFR 164.514(b)(2)(i) in brackets; a fax is E, an accession or encounter number R.
"""

import re

KINDS = (
    "ACCOUNT",  # J
    "AGE",  # C, over 89
    "DATE",  # C
    "DEVICE",  # M
    "EMAIL",  # F
    "FACILITY",
    "FAX",  # E
    "HEALTH_PLAN",  # I
    "ID",  # R
    "IP",  # O
    "LICENSE",  # K
    "LOCATION",  # B
    "MRN",  # H
    "NAME",  # A
    "PHONE",  # D
    "SSN",  # G
    "URL",  # N
    "VEHICLE",  # L
)
TAG = re.compile(r"\[(?:" + "|".join(KINDS) + r")\]")
"""What stands in an identifier's place in tagged text."""
