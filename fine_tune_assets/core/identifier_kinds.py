"""The kinds of identifiers that every domain shares, which are also the tags that replace them. A domain pack adds its own.

Letters refer to 45 CFR 164.514(b)(2)(i). A fax number is E; an accession or encounter number is R.
"""

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
