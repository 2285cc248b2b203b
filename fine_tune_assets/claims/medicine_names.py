"""Whether a word is a medicine, and which brand names are the same one.

Owns the endings of generic names (the stems of the WHO's International Nonproprietary Names) and common brands of one substance.
The long list is `core`'s. A combination such as Percocet is none of its parts here.
"""

from collections.abc import Mapping
from typing import Final

from fine_tune_assets.core.medicines import medicines


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


_ENDINGS: Final = (
    "pril", "sartan", "olol", "vastatin", "dipine", "semide", "thiazide", "formin", "gliptin", "gliflozin",
    "glitazone", "glutide", "prazole", "conazole", "nidazole", "tidine", "cillin", "mycin", "micin", "cycline",
    "floxacin", "clovir", "amivir", "tegravir", "profen", "coxib", "triptan", "setron", "zepam", "zolam",
    "barbital", "codone", "morphone", "xetine", "pramine", "triptyline", "parin", "xaban", "gatran", "lukast",
    "dronate", "isone", "solone", "sterone", "zosin", "buterol", "meterol", "tropium", "pentin", "gabalin",
    "racetam", "tinib", "zumab", "ximab", "limumab", "phylline", "fibrate", "oxicam", "cortisone", "sporine",
    "platin", "rubicin", "caine",
)  # fmt: skip
_NONE: Final = frozenset({"april", "cocaine"})
"""Words with such an ending that are no medicine."""
_ENDING_LETTERS: Final = 6
"""A shorter word is none by its ending alone."""
_ALSO: Final = _words(
    "aspirin melatonin naprosyn tums mylanta pepto dulcolax metamucil excedrin pamprin midol sudafed robitussin "
    "nyquil dayquil theraflu codeine trizivir enablex lortab ultracet norflex versed darvocet flovent"
)

_SAME: Final = """
acetaminophen: tylenol, paracetamol, ofirmev
albuterol: ventolin, proventil, salbutamol
alendronate: fosamax
allopurinol: zyloprim
alprazolam: xanax
amitriptyline: elavil
amlodipine: norvasc
amoxicillin: amoxil
apixaban: eliquis
aripiprazole: abilify
aspirin: ecotrin
atenolol: tenormin
atorvastatin: lipitor
azithromycin: zithromax
bupropion: wellbutrin, zyban
buspirone: buspar
carvedilol: coreg
celecoxib: celebrex
cephalexin: keflex
cetirizine: zyrtec
ciprofloxacin: cipro
citalopram: celexa
clonazepam: klonopin
clonidine: catapres
clopidogrel: plavix
cyclobenzaprine: flexeril
dexamethasone: decadron
diazepam: valium
diclofenac: voltaren
digoxin: lanoxin
diphenhydramine: benadryl
docusate: colace
donepezil: aricept
duloxetine: cymbalta
enalapril: vasotec
enoxaparin: lovenox
escitalopram: lexapro
esomeprazole: nexium
eszopiclone: lunesta
ezetimibe: zetia
famotidine: pepcid
fexofenadine: allegra
finasteride: proscar, propecia
fluconazole: diflucan
fluoxetine: prozac
fluticasone: flonase, flovent
furosemide: lasix
gabapentin: neurontin
glargine: lantus, basaglar, toujeo
glimepiride: amaryl
glipizide: glucotrol
guaifenesin: mucinex
haloperidol: haldol
hydromorphone: dilaudid
hydroxychloroquine: plaquenil
hydroxyzine: atarax, vistaril
ibuprofen: motrin, advil, brufen, nurofen
ketorolac: toradol
lamotrigine: lamictal
levetiracetam: keppra
levofloxacin: levaquin
levothyroxine: synthroid, levoxyl, levothroid
lisinopril: zestril, prinivil
loperamide: imodium
loratadine: claritin, alavert
lorazepam: ativan
losartan: cozaar
meloxicam: mobic
metformin: glucophage
methocarbamol: robaxin
methylphenidate: ritalin, concerta
methylprednisolone: medrol, solumedrol
metoclopramide: reglan
metoprolol: lopressor, toprol
metronidazole: flagyl
mirtazapine: remeron
montelukast: singulair
naproxen: aleve, naprosyn
olanzapine: zyprexa
olmesartan: benicar
omeprazole: prilosec
ondansetron: zofran
oseltamivir: tamiflu
oxycodone: oxycontin, roxicodone
pantoprazole: protonix
paroxetine: paxil
phenazopyridine: pyridium
phenytoin: dilantin
pravastatin: pravachol
promethazine: phenergan
propranolol: inderal
quetiapine: seroquel
rabeprazole: aciphex
ranitidine: zantac
risperidone: risperdal
rivaroxaban: xarelto
rosuvastatin: crestor
semaglutide: ozempic, wegovy, rybelsus
sertraline: zoloft
sildenafil: viagra
simvastatin: zocor
sitagliptin: januvia
spironolactone: aldactone
sumatriptan: imitrex
tadalafil: cialis
tamsulosin: flomax
temazepam: restoril
tizanidine: zanaflex
tolterodine: detrol
topiramate: topamax
tramadol: ultram
trazodone: desyrel
valacyclovir: valtrex
valsartan: diovan
venlafaxine: effexor
verapamil: calan
warfarin: coumadin
zolpidem: ambien
"""
_GENERIC: Final[Mapping[str, str]] = {
    brand: generic
    for line in _SAME.strip().splitlines()
    for generic, _, brands in [line.partition(": ")]
    for brand in brands.split(", ")
}
_MORE: Final = _ALSO | frozenset(_GENERIC) | frozenset(_GENERIC.values())


def is_listed(word: str) -> bool:
    return word in medicines() or word in _MORE


def is_medicine(word: str) -> bool:
    """Whether a word in small letters is on a list, or ends as medicines of a class do.

    >>> is_medicine("lisinopril"), is_medicine("metropolol"), is_medicine("april")
    (True, True, False)
    """
    return is_listed(word) or (len(word) >= _ENDING_LETTERS and word.endswith(_ENDINGS) and word not in _NONE)


def generic_name(word: str) -> str:
    """The substance of a brand; the word itself for every other one."""
    return _GENERIC.get(word, word)
