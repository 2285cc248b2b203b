"""Writes the name pools in fine_tune_assets/phi/reference from Faker's locale data.

    python -m fine_tune_assets_tests.phi.build_name_pools

Selects locales, and excludes names that are also words, places or eponyms. Not used at run time: a new version of Faker must not
change the surrogates of existing texts.
"""

import importlib
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from english_words import get_english_words_set
from faker.providers.address.en import Provider as Countries
from faker.providers.address.en_US import Provider as States

from fine_tune_assets.phi.replacement import name_pools
from fine_tune_assets.phi.replacement.keyed_draws import normalize
from fine_tune_assets.phi.spans.identifier_words import AMBIGUOUS_NAMES
from fine_tune_assets_tests.clinical_domain import VOCABULARY

FOLDER = name_pools.REFERENCE_DIR
SURNAME_LOCALES = "en_US en_GB en_IE en_NZ es_ES es_MX es_CL fr_FR fr_CA de_DE sv_SE da_DK no_NO pt_PT".split()  # noqa: SIM905
GIVEN_LOCALES = "en_US en_GB en_IE en_NZ es_ES es_MX fr_FR fr_CA sv_SE da_DK no_NO pt_BR".split()  # noqa: SIM905
KNOWN_LOCALES = [
    *SURNAME_LOCALES,
    *"pt_BR it_IT nl_NL de_AT de_CH fr_BE nl_BE".split(),  # noqa: SIM905
    *"en_IN en_NG en_KE es_CO es_AR es_CL fr_QC fi_FI pl_PL cs_CZ ro_RO ga_IE hu_HU hr_HR tr_TR et_EE lv_LV".split(),  # noqa: SIM905
    *"lt_LT sk_SK sl_SI is_IS yo_NG ha_NG ig_NG zu_ZA id_ID az_AZ uz_UZ tw_GH vi_VN".split(),  # noqa: SIM905
]
# Names of diseases, signs, scores, devices and statistics in reports, and well-known places and brands.
EPONYMS = frozenset(
    """addison adson albers allen alport alvarado alzheimer angelman apgar asperger babinski baker bakers bankart barlow
    barre barrett bartholin bartter basedow bauer bechterew becker behcet bell bennett berger bernard billroth binet
    blalock bland boehm boerhaave borg bowen bowman boyden braden braxton bright broca brodie brown brucella bruce brugada
    budd buerger burkitt burow caldwell castleman chagas charcot chiari christmas churg cloward cobb colles conn cooley
    coombs cooper cori courvoisier cowden creutzfeldt crohn cushing dandy darier davis denver descemet dix dixon doppler
    down downs dressler duchenne dupuytren durand ebstein edwards ehlers eisenmenger epley epworth epstein erb erdheim
    ewing fabry fallot fanconi felty finkelstein fisher fitz fleischer fogarty foley fontan forrest forestier fournier fowler
    framingham freiberg freund friedreich froment galeazzi gardner gaucher gilbert gleason goodpasture gower graves
    grawitz greenfield guillain guyon hamilton hansen harris harrington hartmann hartnup hashimoto haver hawkins hayes
    heberden heimlich heller henoch hermansky herring hesselbach hill hirsch hirschsprung hodgkin hoffman hoffmann homan
    homans hopkins horner horton hoyer humphrey hunt hunter huntington hurler hutchinson jackson jacob jones joseph kaplan
    kaposi karnofsky kartagener kawasaki kennedy kernig klein kline klinefelter klumpke koch kocher koenig korsakoff
    krabbe krukenberg kuntscher kussmaul lachman lachmann lambert lasegue laurence leber legg leopold levine lewis lewy
    lhermitte liddle liebermann light lisfranc lister little louis ludwig lyme lynch mallory mann marburg marfan marshall
    mason mayo mcbride mcburney mcdonald mcmurray meckel meier meniere merkel meyer miller minor mitchell moore morris
    morrison morton muller munro murphy murray nash neer nelson nissen noonan norton norwood ober osgood osler ottawa paget
    pancoast parinaud parkes parkinson patrick pearson perthes petit peyronie pfeiffer phalen philips pick pierre poland pompe
    pott potter prader prinzmetal quincke ramsay ranson raynaud recklinghausen reed reiter rett reye richter riedel
    robin romano romberg ross roth rovsing ryan salter samter sanders scarpa schatzki scheuermann schiller schilling schmidt
    schober schwann seldinger sever sheehan simmonds simon sims sinclair sjogren smith spitz spurling stark starling
    stein steinberg steiner steele stewart still stokes strauss strumpell sturge swan swanson swift sydenham tay thomas
    thompson thomsen thorn tinel todd tourette townes trousseau turner usher valsalva vincent virchow vogt volkmann wagner
    waldenstrom wallace wallenberg ward warren watson weber wegener weil weiss wells wernicke wharton whipple whitney
    wilcoxon williams wilms wilson winkler winter wolf wolff wood wright zellweger zenker ziehl zollinger kruskal
    alberta asia berlin bordeaux boston brooklyn cabo cairns caldera chelsea chester cordoba cruz dakota dallas denver
    diaz durham eden florence florida francia france hollywood houston india ireland israel kent lagos lancaster lanka leon
    lincoln london lourdes madison mariana marino medici medina mercedes merida milan montana montenegro napoli nevada
    oxford paris peru phoenix poland preston rica rico roma savannah seville sidney spain stanford sydney toledo trinidad
    troy valencia victoria virginia washington york yorkshire zaragoza genova palermo verona venezia siena salerno trento
    avandia cialis concerta cymbalta elavil humira imodium januvia keppra levitra lyrica mirena nora panini ronaldo
    salami smythe tata twitter lamborghini ferrari porsche siemens philips toshiba garmin medtronic stryker zimmer abbott
    bayer merck novartis pfizer sandoz braun fresenius baxter roche lilly""".split()  # noqa: SIM905
)


def surnames() -> list[str]:
    found = _of(SURNAME_LOCALES, "last_names", "last_names_male", "last_names_female")
    return sorted(n for n in found if _is_usable(n) and normalize(n) not in known_given_names())


def given_names() -> dict[str, str]:
    """Name → f, m or u (both)."""
    kinds = known_given_names()
    found = _of(GIVEN_LOCALES, "first_names_male", "first_names_female")
    return {n: kinds[normalize(n)] for n in sorted(found) if _is_usable(n) and normalize(n) in kinds}


@cache
def known_given_names() -> Mapping[str, str]:
    """Normalized name → f, m or u, excluding those that more people in the USA have as a surname."""
    women = {normalize(n) for n in _of(KNOWN_LOCALES, "first_names_female", "first_names_female_est")}
    men = {normalize(n) for n in _of(KNOWN_LOCALES, "first_names_male", "first_names_male_est")}
    names = sorted(n for n in women | men if len(n) > 1 and n.isalpha() and not _is_mostly_a_surname(n))
    return {n: _usual_gender(n, n in women, n in men) for n in names}


def _usual_gender(name: str, is_womans: bool, is_mans: bool) -> str:
    """If a name has both genders, US data decides when nine of ten are of one gender."""
    if not (is_womans and is_mans):
        return "f" if is_womans else "m"
    women, men = _usa("first_names_female").get(name, 0), _usa("first_names_male").get(name, 0)
    if women > 9 * men:
        return "f"
    return "m" if men > 9 * women else "u"


def _is_mostly_a_surname(name: str) -> bool:
    as_given = (_usa("first_names_female").get(name, 0) + _usa("first_names_male").get(name, 0)) / 2
    return _usa("last_names").get(name, 0) > as_given


@cache
def _usa(kind: str) -> Mapping[str, float]:
    names: Any = getattr(importlib.import_module("faker.providers.person.en_US").Provider, kind)
    total = sum(names.values())
    return {normalize(name): weight / total for name, weight in names.items()}


def _of(locales: Iterable[str], *kinds: str) -> set[str]:
    providers = [importlib.import_module(f"faker.providers.person.{locale}").Provider for locale in locales]
    return {name for provider in providers for kind in kinds for name in (getattr(provider, kind, None) or ())}


def _is_usable(name: str) -> bool:
    """Four to eleven plain letters, with a common initial, and nothing but a name."""
    is_plain = name.isascii() and name.isalpha() and name == name.capitalize() and 4 <= len(name) <= 11
    return is_plain and name[0] in name_pools.INITIALS and not is_word(name.lower())


def is_word(name: str) -> bool:
    """Whether the name or its singular is an English or clinical word, a place or an eponym."""
    stems = {name, name.removesuffix("s"), name.removesuffix("es"), name.removesuffix("ies") + "y"}
    return bool(stems & _words())


@cache
def _words() -> frozenset[str]:
    english = {w for w in get_english_words_set(["web2", "gcide"], alpha=True) if w == w.lower()}
    places = {normalize(n) for n in (*Countries.countries, *States.states)}
    headings = {word.lower() for word in VOCABULARY.heading_words}
    return frozenset(english | places | EPONYMS | VOCABULARY.ordinary_words | AMBIGUOUS_NAMES | headings)


def write() -> None:
    lines = {
        "surnames.txt": surnames(),
        "given_names.txt": [f"{kind} {name}" for name, kind in given_names().items()],
        "known_given_names.txt": [f"{kind} {name}" for name, kind in known_given_names().items()],
    }
    for name, content in lines.items():
        (FOLDER / name).write_text("\n".join(content) + "\n", encoding="utf-8")
        sys.stdout.write(f"{name}: {len(content)}\n")


if __name__ == "__main__":
    write()
