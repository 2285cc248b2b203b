"""The findings whose negation is looked at, and how notes and patients name each; and the sites of the body.

Owns the words, nothing else: which of them is negated where is read in `mentions`. A plural in -s need not be listed.
"""

import re
from collections.abc import Mapping
from typing import Final

_NAMES: Final = """
abnormality: abnormality, abnormalities, anything abnormal
abrasion: abrasion, scrape
abscess: abscess
alcohol: alcohol, etoh, ethanol, drink, drinks, drinking, beer, wine, liquor, drinker
accident: accident, collision
alcohol abuse: alcohol abuse, alcohol problem, heavy alcohol, heavy drinking, alcoholism, alcoholic
allergy: allergy, allergies, allergic, hay fever
anemia: anemia, anaemia, anemic
anxiety: anxiety, anxious, panic attack, nervousness
arrhythmia: arrhythmia, irregular heartbeat, irregular rhythm, a fib, afib, atrial fibrillation
arthritis: arthritis
asthma: asthma
ataxia: ataxia, unsteady, off balance, loss of balance, balance problem
atrophy: atrophy
bladder problem: bladder problem, bladder dysfunction, bladder issue, loss of bladder control, bladder incontinence
bleeding: bleeding, bleed, bled, hemorrhage
blister: blister
blockage: blockage, obstruction
blood in stool: melena, hematochezia, blood in stool, blood in stools, blood in your stool, blood in your stools,
 blood in my stool, blood in the stool, bloody stool, black stool, tarry stool, bright red blood, rectal bleeding,
 bleeding per rectum, dark stool
body ache: body ache, bodyache, muscle ache, myalgia, aching all over
bowel problem: bowel problem, bowel dysfunction, bowel issue, bowel changes, change in bowel habits,
 changes in bowel habits
bruise: bruise, bruising, bruised, ecchymosis, ecchymoses
bruit: bruit
burning: burning, burns
cancer: cancer, malignancy, malignancies, carcinoma
chest tightness: chest tightness, chest pressure, tightness in chest, tightness in your chest, tightness in my chest
chill: chill, shivering, rigors
claudication: claudication
clot: clot, thrombosis, dvt, thromboembolism, pulmonary embolism
clubbing: clubbing
cold: a cold, colds, head cold, common cold
confusion: confusion, confused, disoriented, disorientation
congestion: congestion, congested, stuffy nose, stuffiness, stuffed up, runny nose, rhinorrhea, nasal drainage
constipation: constipation, constipated
cough: cough, coughs, coughing, coughed
crackle: crackle, rale
cramp: cramp, cramping, crampy
crepitus: crepitus, crepitation
cyanosis: cyanosis, cyanotic
cyst: cyst
deformity: deformity, deformities
dementia: dementia, alzheimer's, alzheimer
depression: depression, depressed, depressive
diabetes: diabetes, diabetic, dm, high blood sugar
diarrhea: diarrhea, diarrhoea, loose stool, watery stool
difficulty sleeping: insomnia, trouble sleeping, difficulty sleeping, problems sleeping, sleep disturbance,
 can't sleep
discharge: discharge, drainage, draining, exudate, pus
distension: distention, distension, distended, bloating, bloated
distress: distress
dizziness: dizziness, dizzy, lightheaded, lightheadedness, light headed, light headedness, light-headed,
 light-headedness, woozy
double vision: double vision, diplopia
drugs: drug use, drug abuse, drugs, illicit drug, illegal drug, illicits, recreational drug, iv drug, iv drug use,
 marijuana, cocaine, heroin, street drugs, substance abuse
dysphagia: dysphagia, difficulty swallowing, trouble swallowing, problems swallowing, hard to swallow,
 swallowing difficulty, swallowing difficulties, difficulty in swallowing
dyspnea: dyspnea, shortness of breath, short of breath, sob, breathless, breathlessness, trouble breathing,
 difficulty breathing, difficulties breathing, problems breathing, difficulty in breathing, hard to breathe,
 difficult to breathe, can't breathe, breathing difficulty, breathing difficulties, breathing problem,
 respiratory distress, out of breath, winded, catch my breath
dysuria: dysuria, burning with urination, burning on urination, burning when you pee, burning when you urinate,
 pain with urination, pain on urination, pain in urination, painful urination, pain when you pee,
 pain when you urinate, painful to urinate, pain urinating, burning urination, pain passing urine
edema: edema, oedema, swelling, swollen, swell, swells, swelled, puffy, puffiness, swellings
effusion: effusion
erythema: erythema, redness, erythematous
facial droop: facial droop, drooping
fatigue: fatigue, fatigued, tired, tiredness, exhausted, exhaustion, lethargy, lethargic, malaise
fever: fever, feverish, febrile, pyrexia
fracture: fracture, fractured, broken bone
gallop: gallop
gallstone: gallstone, gallbladder stone
giving way: giving way, gives way, gave way, buckling, instability, unstable
goiter: goiter, thyromegaly, enlarged thyroid, thyroid enlargement
gout: gout
guarding: guarding
hair loss: hair loss, losing hair
hallucination: hallucination, hearing voices, seeing things
headache: headache, head ache, head pain, head hurts, cephalgia
hearing loss: hearing loss, hearing problem, trouble hearing, difficulty hearing, hard of hearing, loss of hearing
heart attack: heart attack, myocardial infarction
heart disease: heart disease, cardiac disease, coronary artery disease, heart problem, cad, coronary disease
heart failure: heart failure, chf
heartburn: heartburn, indigestion, acid reflux, reflux, gerd, dyspepsia
hematemesis: hematemesis, vomiting blood, throwing up blood, blood in vomit, vomited blood
hematuria: hematuria, blood in urine, blood in your urine, blood in the urine, blood in my urine, bloody urine,
 blood when you pee
hemoptysis: hemoptysis, coughing up blood, cough up blood, coughing blood, blood in sputum, bloody sputum,
 blood in your sputum
hemorrhoid: hemorrhoid
hepatitis: hepatitis
hepatomegaly: hepatomegaly, hepatosplenomegaly, enlarged liver, splenomegaly, organomegaly
hernia: hernia
high cholesterol: high cholesterol, hyperlipidemia, hypercholesterolemia, dyslipidemia
hiv: hiv, aids
hoarseness: hoarseness, hoarse
homicidal: homicidal, homicide, hurting others
hot flash: hot flash, hot flashes
hypertension: hypertension, htn, high blood pressure, hypertensive
incontinence: incontinence, incontinent, leak, leaks, leakage, leaking
infection: infection, infected
inflammation: inflammation, inflamed
injury: injury, injuries, injured, trauma, injure
itching: itching, itchy, itch, itchiness, pruritus, itches
jaundice: jaundice, yellow skin, yellowing
jugular distension: jvd, jugular venous distention, jugular venous distension
kidney disease: kidney disease, renal disease, kidney problem
laceration: laceration
lesion: lesion
liver disease: liver disease, liver problem
locking: locking, locks up, catching
loss of appetite: loss of appetite, poor appetite, decreased appetite, lost appetite, lost my appetite, anorexia
loss of consciousness: loss of consciousness, syncope, faint, fainted, fainting, blackout, blackouts, passed out,
 pass out, passing out, lost consciousness, lose consciousness, black out, syncopal, loc
lump: lump
lung disease: lung disease, copd, emphysema
lymphadenopathy: lymphadenopathy, adenopathy, swollen lymph node, enlarged lymph node, swollen glands, swollen nodes
mass: mass, masses, tumor, tumour
medical problem: medical problem, medical condition, medical issue, health problem, chronic illness, chronic illnesses
memory loss: memory loss, forgetful, forgetfulness, loss of memory, memory problem
migraine: migraine
murmur: murmur
nausea: nausea, nauseous, nauseated, sick to my stomach, sick to your stomach, queasy
night sweat: night sweat, sweating at night, sweats at night
nocturia: nocturia
nodule: nodule
nosebleed: nosebleed, epistaxis, nose bleed, bloody nose
numbness: numbness, numb
odor: odor, smell
orthopnea: orthopnea
osteoporosis: osteoporosis
odynophagia: odynophagia, painful swallowing, pain with swallowing, hurts to swallow
pain: pain, ache, aches, aching, achy, hurt, hurts, hurting, painful, sore, soreness, discomfort
palpitation: palpitation, racing heart, heart racing, heart fluttering, heart pounding, fluttering, racing heartbeat
paralysis: paralysis, paralyzed
paroxysmal dyspnea: pnd, paroxysmal nocturnal dyspnea
photophobia: photophobia, sensitivity to light, sensitive to light, light sensitivity, bright lights
pneumonia: pneumonia
pneumothorax: pneumothorax
polydipsia: polydipsia, excessive thirst, thirsty, increased thirst
polyp: polyp
polyuria: polyuria, frequent urination, peeing a lot, urinary frequency, increased urination, urinating frequently
popping: popping, clicking
pregnancy: pregnancy, pregnant
rash: rash, rashes, hives
rebound: rebound
rhonchus: rhonchi, rhonchus
rub: rub
sciatica: sciatica, radiculopathy
seizure: seizure, convulsion, seizing, epilepsy
side effect: side effect, adverse effect
sleep apnea: sleep apnea, apnea
slurred speech: slurred speech, dysarthria, slurring, slurring of speech, trouble speaking, speech problem
smoke: smoke, smokes, smoked, smoking, smoker, tobacco, cigarette, cigar
snoring: snoring, snore
sore throat: sore throat, throat pain, scratchy throat, throat is sore, throat was sore, pharyngitis
spasm: spasm
sputum: sputum, phlegm, mucus
stiffness: stiffness, stiff
stroke: stroke, cva, cerebrovascular accident, tia
suicidal: suicidal, suicide, hurting yourself, hurt yourself, harming yourself, harm yourself, killing yourself
surgery: surgery, surgeries, operation, surgical history
sweating: sweat, sweats, sweating, sweaty, diaphoresis, diaphoretic
tenderness: tenderness, tender
thyroid disease: thyroid disease, thyroid problem
tingling: tingling, pins and needles, paresthesia, tingly
tinnitus: tinnitus, ringing in your ears, ringing in ears, ringing in my ears
travel: travel, traveled, travelled, traveling, travelling
tremor: tremor, shaky
tuberculosis: tuberculosis, tb
ulcer: ulcer, ulceration
urgency: urgency
urinary retention: urinary retention, trouble urinating, difficulty urinating, trouble peeing, straining to urinate,
 difficulty voiding
varicose vein: varicose vein
vertigo: vertigo, room spinning, spinning
vision change: vision change, visual change, blurry vision, blurred vision, vision problem, visual disturbance,
 vision loss, loss of vision, visual problem, changes in vision, change in vision, changes in your vision,
 vision is blurry, trouble seeing, blurriness, visual complaint
vomiting: vomiting, vomit, vomited, vomits, emesis, throwing up, threw up, throw up, thrown up, puke, puking
weakness: weakness, weak
weight change: weight change, weight changes, change in weight, changes in weight
weight gain: weight gain, gained weight, gaining weight, gain weight, gained any weight, put on weight
weight loss: weight loss, lost weight, losing weight, lose weight, lost any weight, loss of weight, dropped weight
wheeze: wheeze, wheezing, wheezes, wheezy
"""


def _forms(names: str) -> dict[tuple[str, ...], str]:
    forms: dict[tuple[str, ...], str] = {}
    for entry in names.strip().replace("\n ", " ").splitlines():
        name, _, written = entry.partition(": ")
        for form in written.split(", "):
            for spelled in (form, form + "s"):
                forms.setdefault(tuple(spelled.replace("-", " ").split()), name)
    return forms


FINDING_OF: Final[Mapping[tuple[str, ...], str]] = _forms(_NAMES)
"""The words of a form, in lower case, → what the finding is called."""
LONGEST_FORM: Final[Mapping[str, int]] = {
    first: max(len(words) for words in FINDING_OF if words[0] == first) for first in {words[0] for words in FINDING_OF}
}
"""First word → words of the longest form that begins with it."""

_SITES: Final = """
abdomen: abdomen, abdominal, belly, stomach, tummy, abdo, epigastric
ankle: ankle
arm: arm, forearm
back: back, lumbar, spine, spinal
breast: breast
calf: calf, calves
chest: chest, thoracic
ear: ear
elbow: elbow
eye: eye, eyes
face: face, facial
finger: finger, thumb
flank: flank
foot: foot, feet, toe, heel
groin: groin
hand: hand
head: head
hip: hip
jaw: jaw
joint: joint
knee: knee
leg: leg
muscle: muscle
neck: neck, cervical
rib: rib
shoulder: shoulder
thigh: thigh
throat: throat
tooth: tooth, teeth
wrist: wrist
"""
SITE_OF: Final[Mapping[str, str]] = {" ".join(form): site for form, site in _forms(_SITES).items()}
"""How a body site is written → what it is called."""
_EMPTY: Final = frozenset(
    re.findall(
        r"\w+",
        "the and any for with has had have was were are but not you your his her she they him its that this there been denies "
        "denied reports report states patient doctor does did don doesn didn all some other also who what when how about from "
        "into out significant mild yes yeah okay well just like really know think get got would could will can currently time "
        "today",
    )
)


def stem(word: str) -> str:
    """What two spellings of a word share; a body site by its name, and nothing for a word that says nothing.

    >>> stem("tummy"), stem("radiating"), stem("radiates"), stem("the")
    ('abdomen', 'radiat', 'radiat', '')
    """
    if len(word) <= 2 or word in _EMPTY:
        return ""
    if word in SITE_OF:
        return SITE_OF[word]
    for ending in ("ing", "ed", "es", "s", "ly"):
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word[: -len(ending)]
    return word
