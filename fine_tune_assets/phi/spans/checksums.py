"""Check digits of account, card and bank numbers."""

from collections.abc import Callable, Mapping
from typing import Final

from fine_tune_assets.recipes.domain_pack_schema import Checksum, IdentifierSettings, PresidioEntity

_ABA_WEIGHTS: Final = (3, 7, 1) * 3


def has_valid_luhn(value: str) -> bool:
    """ISO/IEC 7812-1, as on payment cards.

    >>> has_valid_luhn("4111 1111 1111 1111"), has_valid_luhn("4111 1111 1111 1112")
    (True, False)
    """
    digits = _read_digits(value)
    doubled = (digit if at % 2 == 0 else sum(divmod(2 * digit, 10)) for at, digit in enumerate(reversed(digits)))
    return len(digits) > 1 and sum(doubled) % 10 == 0


def has_valid_iban(value: str) -> bool:
    """ISO 13616: the number, with its first four characters moved to the end, leaves 1 when divided by 97.

    >>> has_valid_iban("DE89 3704 0044 0532 0130 00"), has_valid_iban("DE88 3704 0044 0532 0130 00")
    (True, False)
    """
    plain = "".join(c for c in value.upper() if c.isascii() and c.isalnum())
    if len(plain) < 15 or not plain[:2].isalpha() or not plain[2:4].isdecimal():
        return False
    return int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1


def has_valid_aba(value: str) -> bool:
    """Routing number of a US bank: nine digits, weighted 3, 7 and 1.

    >>> has_valid_aba("021000021"), has_valid_aba("021000022")
    (True, False)
    """
    digits = _read_digits(value)
    return len(digits) == 9 and sum(d * w for d, w in zip(digits, _ABA_WEIGHTS, strict=True)) % 10 == 0


def _read_digits(value: str) -> list[int]:
    return [int(c) for c in value if c.isdecimal()]


CHECKSUMS: Final[Mapping[Checksum, Callable[[str], bool]]] = {
    "aba": has_valid_aba,
    "iban": has_valid_iban,
    "luhn": has_valid_luhn,
}
_CHECKSUM_BY_ENTITY: Final[Mapping[PresidioEntity, Checksum]] = {
    "ABA_ROUTING_NUMBER": "aba",
    "CREDIT_CARD": "luhn",
    "IBAN_CODE": "iban",
}


def list_checksums(settings: IdentifierSettings) -> list[Callable[[str], bool]]:
    """The checks that values of this kind can satisfy."""
    stated = [one.checksum for one in settings.recognizers if one.checksum is not None]
    of_presidio = [_CHECKSUM_BY_ENTITY[entity] for entity in settings.presidio if entity in _CHECKSUM_BY_ENTITY]
    return [CHECKSUMS[name] for name in dict.fromkeys([*stated, *of_presidio])]
