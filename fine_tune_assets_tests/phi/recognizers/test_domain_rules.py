"""The rules of the law and finance packs: what they find, what they keep, and what the second pass withholds."""

import re
from dataclasses import replace

import pytest

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.phi.measurement.recall import MASKED_RECALL, measure_documents, read_gold
from fine_tune_assets.phi.recognizers.domain_rules import load_rules
from fine_tune_assets.phi.recognizers.presidio_recognizers import PRESIDIO_RECOGNIZERS
from fine_tune_assets.phi.recognizers.rules.rule_list import apply_rules
from fine_tune_assets.phi.recognizers.second_pass import find_residual_phi
from fine_tune_assets.phi.recognizers.tagged_spans import RULE as TAGGER_RULE
from fine_tune_assets.phi.scrubber import Scrubber, build_scrubber, scrubber_version
from fine_tune_assets.phi.spans.spans import KNOWN_RULE, Span
from fine_tune_assets.recipes.domain_pack_schema import PresidioEntity
from fine_tune_assets.recipes.domain_packs import load_pack
from fine_tune_assets.recipes.loader import load_recipe

RECIPES = {"law": "law_contracts", "finance": "finance_complaints"}


@pytest.fixture(scope="module")
def scrubbers() -> dict[str, Scrubber]:
    return {domain: build_scrubber(load_recipe(name).scrubber) for domain, name in RECIPES.items()}


def _find(domain: str, text: str) -> set[tuple[str, str]]:
    """(kind, value) of the findings of rules."""
    rules = load_rules(domain)
    return {(s.label, text[s.start : s.end]) for s in rules.drop_kept(text, apply_rules(text, rules.rules))}


@pytest.mark.parametrize(
    ("domain", "text", "found"),
    [
        ("law", "Our client no. 20417-A instructs us.", ("CLIENT_NUMBER", "20417-A")),
        ("law", "Matter No. 2026/00417-B, closed.", ("MATTER_NUMBER", "2026/00417-B")),
        ("law", "Filed in 3:24-cv-01987-XYZ.", ("CASE_NUMBER", "3:24-cv-01987-XYZ")),
        ("law", "Claim CL-2025-000312 continues.", ("CASE_NUMBER", "CL-2025-000312")),
        ("law", "Joined with C-512/23 on costs.", ("CASE_NUMBER", "C-512/23")),
        ("law", "LG Köln, 28 O 112/25, judgment.", ("CASE_NUMBER", "28 O 112/25")),
        ("law", "OGH 3 Ob 217/19k, judgment.", ("CASE_NUMBER", "3 Ob 217/19k")),
        ("law", "Record 2025 No. 1234 P.", ("CASE_NUMBER", "2025 No. 1234 P")),
        ("law", "State Bar No. 318842.", ("BAR_NUMBER", "318842")),
        ("law", "Amtsgericht Köln, HRB 99881.", ("REGISTER_NUMBER", "HRB 99881")),
        ("law", "Company number 09876543.", ("REGISTER_NUMBER", "09876543")),
        ("law", "EIN 98-7654321.", ("TAX_NUMBER", "98-7654321")),
        ("law", 'Between Anneke Vandermeer (the "Tenant") and us.', ("NAME", "Anneke Vandermeer")),
        ("law", "Plaintiff Anneke Vandermeer moves to strike.", ("NAME", "Anneke Vandermeer")),
        ("law", "Signed by Anneke Vandermeer, Esq. today.", ("NAME", "Anneke Vandermeer")),
        ("law", "at 5 Tallow Rise, Leeds LS9 9ZZ today", ("LOCATION", "5 Tallow Rise, Leeds LS9 9ZZ")),
        ("law", "wohnhaft Am Weiher 7b, 50667 Köln.", ("LOCATION", "Am Weiher 7b, 50667 Köln")),
        ("finance", "IBAN GB82 WEST 1234 5698 7654 32 was debited.", ("IBAN", "GB82 WEST 1234 5698 7654 32")),
        ("finance", "Card 5555 5555 5555 4444 was declined.", ("CARD_NUMBER", "5555 5555 5555 4444")),
        ("finance", "the card ending 8821 was lost", ("CARD_NUMBER", "8821")),
        ("finance", "Sort code 40-11-22, please.", ("BANK_ACCOUNT", "40-11-22")),
        ("finance", "Routing number 011000015.", ("BANK_ACCOUNT", "011000015")),
        ("finance", "Account number 30441188.", ("BANK_ACCOUNT", "30441188")),
        ("finance", "Customer no. 55-120-9.", ("CUSTOMER_NUMBER", "55-120-9")),
        ("finance", "Case ref CMP-2026-771.", ("CASE_NUMBER", "CMP-2026-771")),
        ("finance", "Transaction ID TX9981-AB.", ("TRANSACTION_NUMBER", "TX9981-AB")),
        ("finance", "Mortgage number M-771203.", ("LOAN_NUMBER", "M-771203")),
        ("finance", "closed by QRS77 today", ("CUSTOMER_NUMBER", "QRS77")),
        ("law", "Enrolment No. K/877/1999 of the Bar", ("BAR_NUMBER", "K/877/1999")),
        ("law", "Adv. X (Enrl. No. MS 4471/1998)", ("BAR_NUMBER", "MS 4471/1998")),
        ("law", "toque P 0417, acts", ("BAR_NUMBER", "P 0417")),
        ("law", "BCE 0744.519.243) pleaded", ("REGISTER_NUMBER", "0744.519.243")),
        ("law", "KRS 0000441872 is the buyer", ("REGISTER_NUMBER", "0000441872")),
        ("law", "in C.S. (OS) No. 4471/2019 before", ("CASE_NUMBER", "C.S. (OS) No. 4471/2019")),
        ("law", "in WP(C) No. 991/2024 before", ("CASE_NUMBER", "WP(C) No. 991/2024")),
        ("law", "and Crl.M.P. No. 7781 of 2022 remains", ("CASE_NUMBER", "Crl.M.P. No. 7781 of 2022")),
        ("law", "Redline [d.okafor, 10:57]: no", ("USER_NAME", "d.okafor")),
        ("law", "d.okafor.ops: no", ("USER_NAME", "d.okafor.ops")),
        ("law", "from log-in peyrolles.v, not by us", ("USER_NAME", "peyrolles.v")),
        ("law", "née le 23 février 1961 à", ("DATE", "23 février 1961")),
        ("law", "geboren am 7. Oktober 1959 in", ("DATE", "7. Oktober 1959")),
        ("law", "Hinterhaus 2. OG", ("LOCATION", "Hinterhaus 2. OG")),
        ("finance", "nacido el 4 de mayo de 1958 en", ("DATE", "4 de mayo de 1958")),
        ("finance", "né le 30/09/1948 à", ("DATE", "30/09/1948")),
        ("finance", "toque P 0417", ("LICENSE", "P 0417")),
        ("finance", "NMLS 118820", ("LICENSE", "118820")),
        ("law", "SRA 312994 acts", ("BAR_NUMBER", "312994")),
        ("finance", "from log-in peyrolles.v, not", ("CUSTOMER_NUMBER", "peyrolles.v")),
        ("finance", "<j.marsh 10:57> hello", ("USER_NAME", "j.marsh")),
        ("finance", "Card (**** **** **** 8881) was", ("CARD_NUMBER", "**** **** **** 8881")),
        ("finance", "orders 44718820 and", ("ID", "44718820")),
    ],
)
def test_identifiers_of_the_domain_are_found(domain: str, text: str, found: tuple[str, str]) -> None:
    assert found in _find(domain, text)


@pytest.mark.parametrize(
    ("domain", "text"),
    [
        ("finance", "IBAN-like GB83 WEST 1234 5698 7654 32"),  # wrong check digits
        ("finance", "the number 5555 5555 5555 4445 is printed"),
        ("finance", "Routing number 011000016."),
        ("law", "the parties met 28 times in 112 days"),
        ("law", "a case of 24 bottles"),
    ],
)
def test_numbers_without_check_digits_or_context_are_not_taken_for_the_domains_own(domain: str, text: str) -> None:
    own = load_pack(domain).pack.own_kinds
    assert not {kind for kind, _ in _find(domain, text) if kind in own} - {"IBAN"}
    assert not list(apply_rules(text, load_rules(domain).checked_rules))


@pytest.mark.parametrize(
    ("domain", "text"),
    [
        ("law", "The Supplier shall pay EUR 12,500.00 plus 4.5% within 30 days under clause 12.3(b)."),
        ("law", "This Agreement takes effect on 1 January 2027 and ends on 31/12/2029."),
        ("law", "Section 10 of the Companies Act 2006, 42 U.S.C. § 1983 and Regulation (EU) 2016/679 apply."),
        ("law", "Each Party submits to the courts of Munich and the laws of England and Wales."),
        ("finance", "The APR rose from 24.9% to 29.9%, a cost of £1,250.00 over 12 months."),
        ("finance", "The transfer of 3 March 2026 was refunded under section 75."),
        ("law", "Act No. 12 of 2005 and Regulation (EC) No 44/2001 apply."),
        ("law", "See clause 14.2(a)/(b), Schedule 3, Part II, exhibit RG/4 and page 12/13."),
        ("law", "The deed was amended on 7. Oktober 2025."),
        ("law", "Lots 3, 4 and 7 cost Rs. 44,000 and INR 12,500.50."),
        ("law", "Invoices are due within 14 days/2 weeks, at 10.30 am, London time."),
        ("finance", "The log-in page failed and the username was rejected."),
        ("finance", "The rate was 4.5 - 5.5 % for 24/36 months, fee EUR 3.50."),
    ],
)
def test_amounts_clauses_statutes_and_contract_dates_stay(
    scrubbers: dict[str, Scrubber], domain: str, text: str
) -> None:
    """A model that learns clauses without their amounts and deadlines is useless."""
    scrubbed = scrubbers[domain].scrub(text, ())
    assert (scrubbed.text, scrubbed.residual_phi) == (text, {})


@pytest.mark.parametrize("domain", RECIPES)
@pytest.mark.parametrize("before", ["born on", "date of birth:", "DOB", "d.o.b.", "married on"])
def test_personal_dates_are_replaced(scrubbers: dict[str, Scrubber], domain: str, before: str) -> None:
    text = f"The signatory, {before} 4 May 1970, signed on 1 January 2027."
    scrubbed = scrubbers[domain].scrub(text, ()).text
    assert "4 May 1970" not in scrubbed
    assert "1 January 2027" in scrubbed


def test_a_known_identifier_is_never_kept(scrubbers: dict[str, Scrubber]) -> None:
    """Metadata is certain: a client named Clause is removed, and a number that looks like an amount."""
    known = [{"kind": "name", "value": "Supplier Marchbanks"}, {"kind": "id", "value": "12500"}]
    scrubbed = scrubbers["law"].scrub("Mr Marchbanks owes EUR 12500 to the Supplier.", known).text
    assert "Marchbanks" not in scrubbed
    assert "12500" not in scrubbed


def test_the_clinical_domain_keeps_nothing() -> None:
    """Its rules are those that were measured before there were packs."""
    text = "EUR 12,500.00 on 1 January 2027 under clause 12.3(b), ninety days, the Supplier"
    spans = [
        Span(0, 13, "ID", TAGGER_RULE, 0.9),
        Span(17, 31, "DATE", TAGGER_RULE, 0.9),
        Span(54, 60, "AGE", TAGGER_RULE, 0.9),
    ]
    rules = load_rules("clinical")
    assert list(rules.drop_kept(text, spans)) == spans
    assert rules.prefer_own_kinds(text, spans) == spans
    assert list(load_rules("law").drop_kept(text, spans)) == []


def test_the_domains_own_kind_wins_over_a_wider_guess() -> None:
    text = "IBAN DE89 3704 0044 0532 0130 00 for Vandermeer"
    own, wide = Span(5, 32, "IBAN", "iban", 0.9), Span(0, 32, "ACCOUNT", TAGGER_RULE, 0.99)
    name, known = Span(5, 47, "NAME", TAGGER_RULE, 0.99), Span(0, 32, "ID", KNOWN_RULE, 1.0)
    assert load_rules("law").prefer_own_kinds(text, [own, wide, name, known]) == [own, name, known]


def test_a_kept_value_at_the_end_of_a_sentence_is_kept() -> None:
    """The tagger's "A." of "24 A." is a character longer than the pattern's match; a name after the value is still found."""
    text = "Peak load 24 A. Then 12 A. Vandermeer left."
    rules = replace(load_rules("clinical"), kept_values=(re.compile(r"\d+ A"),))
    ampere, name = Span(13, 15, "NAME", TAGGER_RULE, 0.8), Span(24, 37, "NAME", TAGGER_RULE, 0.8)
    assert text[ampere.start : ampere.end] == "A."
    assert list(rules.drop_kept(text, [ampere, name])) == [name]


def test_a_stated_number_has_the_kind_that_its_domain_gives_it() -> None:
    """Otherwise its surrogate has another form than the numbers that only the text contains."""
    stated, other = Span(5, 32, "ID", KNOWN_RULE, 1.0), Span(40, 46, "ID", KNOWN_RULE, 1.0)
    named = load_rules("law").name_known([stated, other], [Span(5, 32, "IBAN", "iban", 0.9)])
    assert list(named) == [replace(stated, label="IBAN"), other]


@pytest.mark.parametrize(
    ("domain", "text", "kinds"),
    [
        ("finance", "paid from GB82 WEST 1234 5698 7654 32 again", {"IBAN"}),
        ("law", "paid with 4111 1111 1111 1111 again", {"ID"}),
        ("law", "wrote to a.vandermeer@firm.example yesterday", {"EMAIL"}),
        ("law", "effective 1 January 2027", set()),
        ("law", "she was born 1 January 1971", {"DATE"}),
    ],
)
def test_the_second_pass_withholds_what_the_domain_replaces(domain: str, text: str, kinds: set[str]) -> None:
    """A report with an identifier that is still there must not be trained on; one with a contract date must be."""
    assert set(find_residual_phi(text, (), (), load_rules(domain))) == kinds


def test_every_recognizer_that_a_pack_can_name_exists() -> None:
    assert set(PRESIDIO_RECOGNIZERS) == set(PresidioEntity.__args__)
    assert all(
        entity in build(supported_language="en").supported_entities for entity, build in PRESIDIO_RECOGNIZERS.items()
    )


def test_each_domain_has_its_own_version() -> None:
    """Figures that were measured with the rules of one domain are none for another."""
    versions = {
        domain: replace(load_recipe("demo_smollm2").scrubber, domain=domain) for domain in ("clinical", *RECIPES)
    }
    assert len({scrubber_version(settings) for settings in versions.values()}) == 3


@pytest.mark.slow
@pytest.mark.parametrize("domain", RECIPES)
@pytest.mark.parametrize("labelled_set", ["samples", "held_out"])
def test_recall_on_shipped_reports_is_above_the_floors(
    scrubbers: dict[str, Scrubber], domain: str, labelled_set: str
) -> None:
    """These are the labelled sets of the pack until an organization adds its own."""
    folder = PROJECT_DIR / "data" / load_pack(domain).pack.labelled_sets[0]
    documents = read_gold(folder / f"{labelled_set}.jsonl")
    found = [one.spans for one in scrubbers[domain].scrub_all([(document.text, ()) for document in documents])]
    indirect = load_pack(domain).pack.indirect_kinds
    recall = {m.label: m.value for m in measure_documents(documents, found, indirect) if m.name == MASKED_RECALL}
    floors = load_recipe(RECIPES[domain]).scrub
    assert (recall["all"] >= floors.recall_floor, recall["direct"] >= floors.direct_recall_floor) == (True, True)


@pytest.mark.parametrize("domain", RECIPES)
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("File note — LRK/TUO/0219.", "LRK/TUO/0219"),
        ("Attendance note: QZ/0417", "QZ/0417"),
        ("CALL REPORT 612/B", "612/B"),
        ("Call report no. 77/K", "77/K"),
        ("Our ref: AB/CD/1", "AB/CD/1"),
        ("your ref QZX/88.", "QZX/88"),
        ("Memo to file VIL-22-031", "VIL-22-031"),
        ("telephone note TN-0417-X", "TN-0417-X"),
        ("Procedimiento Ordinario 472/2021-C, Juzgado", "472/2021-C"),
        ("Autos 118/2020 seguidos", "118/2020"),
        ("Diligencias previas nº 77/2019", "77/2019"),
        ("Zaaknummer 8812/23", "8812/23"),
        ("sygn. akt 512/2022", "512/2022"),
        ("R.G. n. 4417/2021", "4417/2021"),
        ("Expediente 33/2020-B", "33/2020-B"),
        ("numéro de rôle 21/04417", "21/04417"),
        ("RG 21/04417", "21/04417"),
        ("Processo 1234/20.1", "1234/20.1"),
        ("branch code 990-145, ref", "990-145"),
        ("Branch code: 198765", "198765"),
        ("BSB 062-000", "062-000"),
        ("IFSC: ABCD0123456", "ABCD0123456"),
        ("BLZ 370 400 44", "370 400 44"),
        ("transit 04417", "04417"),
        ("clearing no. 8327", "8327"),
        ("Matricule: 1987 1109 350 62. I", "1987 1109 350 62"),
        ("matricule 1990021512345", "1990021512345"),
        ("personnummer 19900215-1234", "19900215-1234"),
        ("CPR-nr. 150290-1234", "150290-1234"),
        ("rijksregisternummer 90.02.15-123.45", "90.02.15-123.45"),
        ("BSN 123456782", "123456782"),
        ("OIB 12345678903", "12345678903"),
        ("AHV-Nr. 756.1234.5678.97", "756.1234.5678.97"),
        ("CNP 1900215123456", "1900215123456"),
        ("rodné číslo 900215/1234", "900215/1234"),
        ("DNI 71634508L", "71634508L"),
        ("PREPARED BY: kpatel2 (Kiran)", "kpatel2"),
        ("from L1 (tmcallister3): borrower", "tmcallister3"),
        ("user benny.osull. I", "benny.osull"),
        ("checked by j_quixley", "j_quixley"),
        ("assigned to a.quixley2", "a.quixley2"),
        ("Logged by: quixlo7", "quixlo7"),
        ("escalated to b.penrose", "b.penrose"),
        ("agent mq.stone", "mq.stone"),
        ("Agent dvries.m: customer", "dvries.m"),
        ("Memo\nBy: gpo\nThe roofer", "gpo"),
        ("Dictated by: kt.", "kt"),
        ("Call Pri at 603.555.0151", "Pri"),
        ("ring Wanda on 01632 960 462", "Wanda"),
    ],
)
def test_number_or_user_name_after_its_word_is_found_in_law_and_finance(domain: str, text: str, value: str) -> None:
    assert value in {found for _, found in _find(domain, text)}


@pytest.mark.parametrize("domain", RECIPES)
@pytest.mark.parametrize(
    "text",
    [
        "File note 12/03/2025",
        "file note of 12-MAR-2025",
        "call report Q3/2025",
        "our ref to clause 12/B",
        "Attendance note 4/2025",
        "exp 12/2025",
        "procedura 3/4",
        "proc. 12,500/2021 EUR",
        "branch code on 4 items",
        "branch number 4",
        "transit 24 hours",
        "clearing 50%",
        "BLZ unknown",
        "prepared by counsel",
        "Sent\nBy: fax\nToday",
        "Paid\nBy: card\nToday",
        "By: the lender",
        "checked by e.g. audit",
        "prepared by the lender",
        "assigned to q4",
        "user manual",
        "level 1 (urgent)",
        "L1 (spine)",
        "passed to legal",
        "agent fee",
        "Operator error 12",
        "ID number on request",
        "the national number of 12 branches",
        "rate 4.5/2021",
        "issued shares 1 000 000",
        "bank code of conduct 2019",
        "Bank code 2015 applies",
        "escalated to stage2",
        "raised by end2end",
        "approved by phase3",
        "handled by team4",
        "author section4",
        "passed to level2",
    ],
)
def test_words_of_numbers_and_users_without_one_find_nothing(domain: str, text: str) -> None:
    assert _find(domain, text) == set()


@pytest.mark.parametrize("domain", RECIPES)
@pytest.mark.parametrize(
    "text",
    [
        "Agent: Your birth date?\nanna_92: Anna, 22.9.1992\nAgent: Thanks",
        "What is your date of birth?\nit is 22.9.1992",
        "DOB please?\n22.9.1992",
        "When were you born?\nOn 22.9.1992, in Moga",
        "geb. 22.9.1992",
        "geboren 22.9.1992",
        "My husband Bo passed on 22.9.1992 and",
        "Her late mother died on 22.9.1992.",
        "his father was buried 22.9.1992",
    ],
)
def test_date_of_birth_or_death_is_personal(domain: str, text: str) -> None:
    assert ("DATE", "22.9.1992") in _find(domain, text)


@pytest.mark.parametrize("domain", RECIPES)
@pytest.mark.parametrize(
    "text",
    [
        "The invoice was passed on 22.9.1992.",
        "My husband paid on 22.9.1992.",
        "Birth date? I gave it.\n\nThe fee was paid on 22.9.1992.",
        "When was it paid?\nOn 22.9.1992",
    ],
)
def test_date_of_a_transaction_is_not_personal(domain: str, text: str) -> None:
    assert _find(domain, text) == set()
