"""What the tagger can say of a word, and what the labels of other people's sets mean in these terms.

Owns the tagger's label set. Does not know how a word gets its label.
"""

OUTSIDE = "O"
LABELS: tuple[str, ...] = (
    OUTSIDE,
    "NAME",
    "DATE",
    "AGE",
    "LOCATION",
    "ADDRESS",
    "FACILITY",
    "PHONE",
    "EMAIL",
    "URL",
    "IP",
    "SSN",
    "MRN",
    "ACCOUNT",
    "ID",
)
"""In the order of the classifier's outputs. Only append: a trained tagger is bound to the order."""

UNKNOWN = "UNKNOWN"
"""Of a word about which a labelled set says nothing: training skips it."""

MEANING_OF_FOREIGN_LABEL = {
    "PER": "NAME",
    "PERSON": "NAME",
    "PATIENT": "NAME",
    "DOCTOR": "NAME",
    "GEOGRAPHIC_LOCATION": "LOCATION",
    "GPE": "LOCATION",
    "LOC": "LOCATION",
    "GEO": "LOCATION",
    "ZIP_CODE": "LOCATION",
    "STREET_ADDRESS": "ADDRESS",
    "ORG": "FACILITY",
    "ORGANIZATION": "FACILITY",
    "HOSPITAL": "FACILITY",
    "PHONE_NUMBER": "PHONE",
    "FAX_NUMBER": "PHONE",
    "FAX": "PHONE",
    "EMAIL_ADDRESS": "EMAIL",
    "DOMAIN_NAME": "URL",
    "IP_ADDRESS": "IP",
    "US_SSN": "SSN",
    "SOCIAL_SECURITY_NUMBER": "SSN",
    "MEDICAL_RECORD_NUMBER": "MRN",
    "ACCOUNT_NUMBER": "ACCOUNT",
    "CREDIT_CARD": "ACCOUNT",
    "IBAN_CODE": "ACCOUNT",
    "HEALTH_PLAN_BENEFICIARY_NUMBER": "ID",
    "HEALTH_PLAN": "ID",
    "CERTIFICATE_LICENSE_NUMBER": "ID",
    "LICENSE": "ID",
    "UNIQUE_IDENTIFIER": "ID",
    "US_DRIVER_LICENSE": "ID",
    "DEVICE": "ID",
    "VEHICLE": "ID",
    # Their rules differ from Safe Harbor's: "two weeks" is a DATE_TIME, every age is an AGE.
    "DATE_TIME": UNKNOWN,
    "NRP": UNKNOWN,
    "TITLE": UNKNOWN,
}


def own_label(label: str) -> str:
    """The tagger's label for a label of another set; UNKNOWN if it has none."""
    label = label.upper()
    return label if label in LABELS else MEANING_OF_FOREIGN_LABEL.get(label, UNKNOWN)
