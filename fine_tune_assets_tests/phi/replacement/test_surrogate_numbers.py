"""Numbers keep their form and use unassigned ranges."""

import ipaddress
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fine_tune_assets.phi.replacement import surrogate_numbers as numbers
from fine_tune_assets.phi.replacement.keyed_draws import KeyedSource

SOURCE = KeyedSource(bytes(range(32)), ("safe_harbor", "p-1"))


def form(text: str) -> str:
    return re.sub(r"[a-z]", "a", re.sub(r"[A-Z]", "A", re.sub(r"\d", "0", text)))


@pytest.mark.parametrize(
    "text", ["(559) 555-0142", "302-555-0119", "513.555.0191", "2195550169", "+1 302 555 0119", "(302)555-0170 ext. 33"]
)
def test_telephone_number_keeps_its_form_and_is_fictional(text: str) -> None:
    """555-0100 to 555-0199 are reserved for fiction, and area codes N9X are unassigned."""
    new = next(numbers.draw_phone_numbers(text, SOURCE))
    assert form(new) == form(text)
    digits = re.sub(r"\D", "", re.sub(r"ext.*", "", new))[-10:]
    assert re.fullmatch(r"[2-9]9\d55501\d\d", digits)


def test_telephone_number_in_two_forms_stays_one_number() -> None:
    plain, dotted, national = (
        next(numbers.draw_phone_numbers(t, SOURCE)) for t in ("302-555-0119", "302.555.0119", "+1 (302) 555-0119")
    )
    assert dotted == plain.replace("-", ".")
    assert re.sub(r"\D", "", national) == "1" + plain.replace("-", "")


def test_foreign_number_keeps_its_country() -> None:
    assert re.fullmatch(r"\+46 \(\d\)\d{3} \d{3} \d{2}", next(numbers.draw_phone_numbers("+46 (0)157 548 89", SOURCE)))


@pytest.mark.parametrize("text", ["123-45-6789", "123 45 6789", "123456789"])
def test_ssn_is_never_an_assigned_one(text: str) -> None:
    """Areas from 900 are never SSNs; groups 01 to 49 in them are never ITINs."""
    new = next(numbers.draw_ssns(text, SOURCE))
    assert form(new) == form(text)
    digits = re.sub(r"\D", "", new)
    assert digits[0] == "9"
    assert 1 <= int(digits[3:5]) <= 49


def test_masked_ssn_stays_masked() -> None:
    assert re.fullmatch(r"XXX-XX-\d{4}", next(numbers.draw_ssns("XXX-XX-6789", SOURCE)))


@pytest.mark.parametrize("text", ["10.34.201.7", "fe80::1", "6e40:4041:c617:e898:c11:40d2:c669:2eb4"])
def test_ip_address_is_in_a_documentation_network(text: str) -> None:
    nets = [ipaddress.ip_network(n) for n in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")]
    address = ipaddress.ip_address(next(numbers.draw_ip_addresses(text, SOURCE)))
    assert any(address in net for net in nets if net.version == address.version)


@given(st.text(alphabet="ABCxyz0123456789-/. ", min_size=1, max_size=20))
def test_identifier_keeps_its_form(text: str) -> None:
    """Whatever parses MBI, VIN, serial and record numbers must keep working."""
    new = next(numbers.draw_identifiers(text, SOURCE))
    assert form(new) == form(text)
    first, new_first = re.search(r"\d", text), re.search(r"\d", new)
    assert first is None or new_first is None or first[0] == "0" or new_first[0] != "0"


def test_identifier_grows_if_all_of_its_length_are_taken() -> None:
    """A corpus can contain every two-digit number."""
    candidates = numbers.draw_identifiers("47", SOURCE)
    assert next(c for c in candidates if len(c) > 2).isdigit()


def test_web_address_keeps_its_form_at_a_reserved_host() -> None:
    new = next(numbers.draw_urls("https://portal.clinic.test/u/marisol?id=99", SOURCE, iter(["Wexmere"])))
    assert re.fullmatch(r"https://wexmere\.example\.(?:org|com|net)/[a-z]/[a-z]{7}\?[a-z]{2}=\d\d", new)
