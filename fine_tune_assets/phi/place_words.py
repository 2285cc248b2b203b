"""Words of addresses and of sites of care: which say a kind and stay, and which invented names are made of.

Owns the lists.
"""

# ruff: noqa: SIM905 (lists of words)


def _names(names: str) -> frozenset[str]:
    return frozenset(" ".join(name.split()) for name in names.split(";"))


STATE_CODES = frozenset(
    """AL AK AZ AR CA CO CT DE DC FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ NM NY NC ND OH OK OR PA
    RI SC SD TN TX UT VT VA WA WV WI WY PR GU VI AS MP""".split()
)
STATE_NAMES = _names(
    """alabama;alaska;arizona;arkansas;california;colorado;connecticut;delaware;district of columbia;florida;georgia;hawaii
    ;idaho;illinois;indiana;iowa;kansas;kentucky;louisiana;maine;maryland;massachusetts;michigan;minnesota;mississippi;missouri
    ;montana;nebraska;nevada;new hampshire;new jersey;new mexico;new york;north carolina;north dakota;ohio;oklahoma;oregon
    ;pennsylvania;puerto rico;rhode island;south carolina;south dakota;tennessee;texas;utah;vermont;virginia;washington
    ;west virginia;wisconsin;wyoming"""
)
COUNTRIES = _names(
    """afghanistan;argentina;australia;austria;bangladesh;belgium;bolivia;bulgaria;cambodia;canada;colombia;croatia
    ;dominican republic;ecuador;el salvador;england;ethiopia;finland;france;germany;ghana;great britain;guatemala;haiti
    ;honduras;hungary;iceland;india;indonesia;iran;iraq;ireland;israel;italy;japan;kenya;laos;malaysia;nepal;netherlands
    ;new zealand;nicaragua;nigeria;northern ireland;pakistan;philippines;portugal;romania;russia;saudi arabia;scotland;serbia
    ;singapore;slovakia;slovenia;somalia;south africa;south korea;spain;sri lanka;sudan;switzerland;syria;taiwan;thailand
    ;the netherlands;the philippines;the united kingdom;the united states;turkey;u.k;u.s;u.s.a;uk;ukraine;united kingdom
    ;united states;united states of america;us;usa;venezuela;vietnam;wales;zimbabwe"""
)
"""Without those that are well-known American places as well, such as Lebanon, Cuba, Peru, Poland, Mexico, Jamaica."""
USA = _names("u.s;u.s.a;us;usa;the united states;united states;united states of america")

STREET_WORDS = (
    "street|st|avenue|ave|road|rd|boulevard|blvd|lane|ln|drive|dr|court|ct|circle|cir|place|pl|terrace|ter|way|parkway|pkwy"
    "|highway|hwy|square|sq|trail|trl|row|close|crescent|alley|loop|turnpike|pike|route|rte|rue|via|calle|rua"
)
BUILDING_WORDS = frozenset(
    """apt apartment apartments suite ste unit room rm floor fl bldg building box po p.o pobox tower towers block lot ward wing
    house hall residence residences manor lodge dormitory campus office shelter""".split()
)
AREA_WORDS = frozenset("county parish borough township village city town district region area neighborhood".split())
SITE_WORDS = frozenset(
    """hospital hospitals medical center centre centers group associates health system systems services service clinic
    clinics healthcare infirmary nursing home homes rehabilitation rehab care family primary urgent specialty
    surgery surgical cancer heart trauma dialysis imaging institute pharmacy sanatorium memorial general university
    college regional community county city state childrens children's women's womens veterans va sleep wellness
    outpatient inpatient department dept unit ward floor room emergency intensive icu er ed pediatrics pediatric
    orthopedic orthopaedic oncology cardiology radiology diagnostic laboratory laboratories lab labs hospice
    pavilion building wing tower practice physicians partners school medicine treatment infusion eye dental ent ob
    gyn hosp gen med ctr campus hall foundation trust nhs behavioral mental psychiatric assisted living senior
    skilled facility public""".split()
)

HEADS = tuple(
    """Alder Amber Arden Ashen Bramble Brander Brindle Cairn Calder Carrow Cinder Copper Corran Crannel Dapple Darrow Denner Dovel
    Drayle Elder Ember Ennis Fallow Farrow Fenner Fennel Gander Garrow Gilder Gorran Hadder Harrow Hazel Hether Inner Ivel Juniper
    Kelder Kerrow Kestrel Lander Larken Linnet Lorrel Mallow Marrel Merrow Minnow Nettle Norrel Otter Ouzel Padder Pellow Perrin
    Quarrel Ranner Raven Rowan Rushel Sable Selder Silver Sorrel Starrel Swallow Tamber Tarrel Teasel Thistle Tolder Umber Varrow
    Vennel Verrel Walder Warrel Willow Winder Yarrow Zannel""".split()
)
MIDDLES = ("ing", "en", "er", "an", "el")
TAILS = tuple(
    """mere wick brook ford bury combe stead holm thorpe dale leigh worth haven vale ridge mont croft gate burn den
    bourne beck fleet shaw lea minster garth hythe""".split()
)
