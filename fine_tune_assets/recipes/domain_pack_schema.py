"""The fields of a domain pack (`pack.yaml`), their meaning and their limits. Unknown keys are refused."""

import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from fine_tune_assets.core.bounded_patterns import compile_bounded
from fine_tune_assets.core.identifier_kinds import KINDS

_STRICT = ConfigDict(extra="forbid")
Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,59}$")]
RuleSet = Literal["names", "places", "dates", "contacts", "numbers", "clinical"]
"""A group of the scrubber's own rules. `clinical` finds record numbers, care sites and dates of tests."""
GroundingCheckName = Literal["numbers", "units", "dates", "sides", "negations", "medications"]
ALL_TEXTS: Final = "all"
BundledTagger = Literal["clinical", "law_finance"]
"""A folder in `phi/tagger/models`."""
Checksum = Literal["aba", "iban", "luhn"]
PresidioEntity = Literal[
    "ABA_ROUTING_NUMBER",
    "CREDIT_CARD",
    "CRYPTO",
    "DE_TAX_ID",
    "DE_VAT_ID",
    "IBAN_CODE",
    "MEDICAL_LICENSE",
    "UK_NHS",
    "UK_NINO",
    "US_ITIN",
    "US_MBI",
    "US_NPI",
    "US_SSN",
    "UUID",
]


def _validate_pattern(pattern: str) -> str:
    try:
        compiled = compile_bounded(pattern)
    except re.error as error:
        raise ValueError(f"not a valid regular expression: {error}") from error
    if compiled.fullmatch("") is not None:
        raise ValueError("the regular expression matches the empty text")
    return pattern


Pattern = Annotated[str, AfterValidator(_validate_pattern)]


@dataclass(frozen=True, config=_STRICT)
class Noun:
    """A word of the domain, as pages and messages write it."""

    one: Text
    """Singular, such as `client`."""
    many: Text
    """Plural, such as `clients`."""


@dataclass(frozen=True, config=_STRICT)
class RecognizerSettings:
    """A regular expression that finds one kind of identifier."""

    name: Name
    """Name of the recognizer, stored with each span."""
    pattern: Pattern
    """Regular expression in Python's syntax; with a group named `value`, only that group is replaced."""
    score: Annotated[float, Field(gt=0, le=1)]
    """Estimated precision; findings below `scrub.minimum_score` of the recipe are ignored."""
    context: tuple[Text, ...] = ()
    """Words or phrases of which one must precede the value, in any case; empty: none is required."""
    context_characters: Annotated[int, Field(ge=1, le=55)] = 30
    """Maximum number of characters between such a word and the value, on one line."""
    checksum: Checksum | None = None
    """Check digits that the value must satisfy: `aba` (US routing number), `iban`, or `luhn` (cards)."""
    ignore_case: bool = False
    """Whether the regular expression ignores case."""


@dataclass(frozen=True, config=_STRICT)
class IdentifierSettings:
    """A kind of identifier and how it is found."""

    kind: Annotated[str, Field(pattern="^[A-Z][A-Z_]{1,29}$")]
    """Kind in capitals, which is also its tag; a shared kind such as `NAME` gets further recognizers."""
    direct: bool | None = None
    """Whether it identifies a subject on its own, as `direct_recall_floor` counts; required for a new kind."""
    surrogate: Literal["same_form", "same_letters"] | None = None
    """Surrogate: other letters and digits in the same form, or the same letters with other digits."""
    recognizers: tuple[RecognizerSettings, ...] = ()
    """Regular expressions that find it."""
    presidio: tuple[PresidioEntity, ...] = ()
    """Recognizers of Presidio that find it, by the name of their entity."""

    @property
    def is_shared(self) -> bool:
        """Whether every domain has this kind."""
        return self.kind in KINDS

    @model_validator(mode="after")
    def _check_kind(self) -> "IdentifierSettings":
        stated = (self.direct is not None, self.surrogate is not None)
        if self.is_shared and any(stated):
            raise ValueError(f"{self.kind} is a shared kind: remove direct and surrogate")
        if not self.is_shared and not all(stated):
            raise ValueError(f"{self.kind} is a new kind: state direct and surrogate")
        if not self.recognizers and not self.presidio:
            raise ValueError(f"{self.kind} needs recognizers or presidio")
        return self


@dataclass(frozen=True, config=_STRICT)
class KeptValue:
    """A form that is never an identifier: amounts, percentages, clause numbers, statutes."""

    name: Name
    """Name of the form."""
    pattern: Pattern
    """Regular expression in Python's syntax; a finding inside a match is dropped."""
    ignore_case: bool = False
    """Whether the regular expression ignores case."""


@dataclass(frozen=True, config=_STRICT)
class DomainPack:
    """What distinguishes a domain: its words, identifiers and checks. The word lists are in files next to `pack.yaml`."""

    description: Text
    """Description for people."""
    subject: Noun
    """What a report is about; its reports stay in one split and are erased together."""
    report: Noun
    """What a document is called."""
    rule_sets: tuple[RuleSet, ...]
    """Groups of the scrubber's own rules that apply."""
    tagger: BundledTagger
    """Bundled tagger that `scrub.entity_model: tagger` means: `clinical`, or `law_finance` for contracts and business letters."""
    dates: Literal["all", "personal"]
    """Dates that are identifiers: `all`, or only those after a word of `personal_date_words`."""
    labelled_sets: tuple[Text, ...]
    """Folders of labelled reports that measure the scrubber, relative to the data folder."""
    checks: tuple[GroundingCheckName, ...]
    """Facts of an answer that are looked up in its input; the others are not checked."""
    final_texts: Literal["all", "changed"] = "all"
    """Texts of examples that are searched for identifiers before training: `all`, or only those `changed` after drafting."""
    indirect_labels: tuple[Text, ...] = ()
    """Labels of the labelled reports that do not identify a subject on their own, such as `INITIALS`."""
    personal_date_words: tuple[Text, ...] = ()
    """Words or phrases before a personal date, in any case, such as `date of birth`."""
    identifiers: tuple[IdentifierSettings, ...] = ()
    """Kinds of identifiers that the domain adds, or finds in further ways."""
    kept_values: tuple[KeptValue, ...] = ()
    """Forms that are never identifiers, unless the metadata of a report states them."""

    @property
    def own_kinds(self) -> dict[str, IdentifierSettings]:
        """The kinds that only this domain has."""
        return {one.kind: one for one in self.identifiers if not one.is_shared}

    @property
    def indirect_kinds(self) -> frozenset[str]:
        """Kinds and labels that do not identify a subject on their own."""
        return frozenset([*self.indirect_labels, *(kind for kind, one in self.own_kinds.items() if not one.direct)])

    @property
    def kinds(self) -> tuple[str, ...]:
        """All kinds of identifiers of the domain."""
        return (*KINDS, *self.own_kinds)

    @model_validator(mode="after")
    def _check_unique(self) -> "DomainPack":
        named: dict[str, list[str]] = {
            "identifiers.kind": [one.kind for one in self.identifiers],
            "recognizers.name": [rule.name for one in self.identifiers for rule in one.recognizers],
            "presidio": [str(entity) for one in self.identifiers for entity in one.presidio],
            "kept_values.name": [one.name for one in self.kept_values],
        }
        for what, names in named.items():
            if repeated := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{what}: {', '.join(repeated)} is listed twice")
        return self

    @model_validator(mode="after")
    def _check_dates(self) -> "DomainPack":
        if (self.dates == "personal") != bool(self.personal_date_words):
            raise ValueError("personal_date_words belongs to dates: personal, which needs it")
        return self
