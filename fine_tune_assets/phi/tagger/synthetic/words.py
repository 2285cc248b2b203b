"""Words that made-up documents are put together from: places, care sites, and the clinical terms that are no identifiers.

Owns the lists. Public names (cities, hospitals, medicines, scores); no person.
"""

# ruff: noqa: E501 (lists are easier to read as running text)


def list_of(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.replace("\n", " ").split(";") if item.strip())


SURNAMES_THAT_ARE_WORDS = list_of(
    """Long; Young; Price; Good; Rice; Wood; Green; Brown; White; Black; Gray; Grant; Hill; Bell; Cook; Day; Rose; Lane; Reed; Sharp; Strong; Wise;
    Love; Rich; Frank; King; Knight; Page; Park; Banks; Woods; West; Stone; Field; Case; Cross; Pope; Rush; Sweet; Waters; Winters; Moss; Moody;
    Baker; Cole; Hall; Berry; Walker; Butler; Hunter; Marsh; Barber; Fox; Wolf; Graves; Parkinson; Hodgkin; Murphy; Bell; Homan; Weber; Wilson;
    Addison; Cushing; Barrett; Crohn; Paget; Bowen; Hart; Noble; May; June; March; Ash; Bush; Ford; Payne; Pane; Early; Small; Little; Short;
    Church; Bishop; Major; Pain; Cough; Speight; Best; Power; Powers; Temple; Burns; Sage; Glass; Snow; Frost; Rivers; Brooks; Ward; Wells; Doe;
    Lake; Moon; Star; Gold; Silver; Steel; Law; Cash; Mercy; Hope; Grace; Joy; Faith; Savage; Pride; Swift; Keen; Blunt; Crane; Drake; Swan"""
)
GIVEN_NAMES_THAT_ARE_WORDS = list_of(
    """Hope; Will; Mark; Rose; Grace; Art; Bill; Pat; Sandy; Dawn; April; May; June; Angel; Chase; Hunter; Drew; Faith; Joy; Ivy; Lily; Daisy; Violet; Jade;
    Ruby; Pearl; Amber; Crystal; Summer; Autumn; Sky; River; Rusty; Buck; Chip; Cliff; Dale; Dean; Earl; Gene; Grant; Guy; Jack; Jay; Lance; Max; Miles;
    Norm; Peg; Penny; Ray; Rich; Rob; Rod; Sue; Ty; Van; Ward; Woody; Sunny; Sage; Olive; Cherry; Ginger; Iris; Fern; Heather; Holly; Hazel; Christian; Major"""
)
CITIES = list_of(
    """Chicago; Boston; Houston; Dallas; Seattle; Denver; Phoenix; Philadelphia; Atlanta; Miami; Detroit; Baltimore; Cleveland; Pittsburgh; San Francisco;
    San Diego; Los Angeles; San Jose; Sacramento; Oakland; Fresno; Portland; Las Vegas; Salt Lake City; Albuquerque; Tucson; Austin; San Antonio; El Paso;
    Fort Worth; Oklahoma City; Kansas City; St. Louis; Minneapolis; St. Paul; Milwaukee; Madison; Indianapolis; Columbus; Cincinnati; Toledo; Louisville;
    Nashville; Memphis; Knoxville; Charlotte; Raleigh; Durham; Richmond; Norfolk; Newark; Jersey City; Brooklyn; Queens; Manhattan; The Bronx; Buffalo; Rochester;
    Syracuse; Albany; Hartford; New Haven; Providence; Worcester; Springfield; Burlington; Concord; Bangor; Orlando; Tampa; Jacksonville; New Orleans; Baton Rouge;
    Birmingham; Mobile; Little Rock; Omaha; Lincoln; Des Moines; Fargo; Sioux Falls; Billings; Boise; Spokane; Tacoma; Anchorage; Honolulu; Santa Fe; Aurora;
    Bellevue; Westchester; Long Island; Palo Alto; Santa Monica; Pasadena; Beverly Hills; Cambridge; Quincy; Evanston; Naperville; Scottsdale; Mesa; Reno; Eugene;
    Ann Arbor; Grand Rapids; Dayton; Akron; Lexington; Chattanooga; Savannah; Charleston; Greenville; Wilmington; Trenton; Camden; Scranton; Allentown; Erie;
    Toronto; Vancouver; Montreal; London; Manchester; Leeds; Dublin; Paris; Berlin; Mumbai; Manila; Lagos; Mexico City; Guadalajara; Havana; San Juan; Sydney;
    Melbourne; Auckland; Beijing; Seoul; Tokyo; Hanoi; Cairo; Nairobi; Rome; Madrid; Lisbon; Warsaw; Northside; Riverside; Lakeview; Fairview; Georgetown; Harlem"""
)
STATES: tuple[tuple[str, str], ...] = tuple(
    (pair.rsplit(" ", 1)[0], pair.rsplit(" ", 1)[1])
    for pair in list_of(
        """Alabama AL; Alaska AK; Arizona AZ; Arkansas AR; California CA; Colorado CO; Connecticut CT; Delaware DE; Florida FL; Georgia GA; Hawaii HI; Idaho ID;
        Illinois IL; Indiana IN; Iowa IA; Kansas KS; Kentucky KY; Louisiana LA; Maine ME; Maryland MD; Massachusetts MA; Michigan MI; Minnesota MN; Mississippi MS;
        Missouri MO; Montana MT; Nebraska NE; Nevada NV; New Hampshire NH; New Jersey NJ; New Mexico NM; New York NY; North Carolina NC; North Dakota ND; Ohio OH;
        Oklahoma OK; Oregon OR; Pennsylvania PA; Rhode Island RI; South Carolina SC; South Dakota SD; Tennessee TN; Texas TX; Utah UT; Vermont VT; Virginia VA;
        Washington WA; West Virginia WV; Wisconsin WI; Wyoming WY"""
    )
)
STREET_STEMS = list_of(
    """Maple; Oak; Cedar; Elm; Pine; Walnut; Chestnut; Birch; Willow; Juniper; Magnolia; Sycamore; Main; Park; Lake; River; Spring; Church; School; Mill; High; King;
    Queen; Market; Broad; Center; Franklin; Washington; Lincoln; Jackson; Jefferson; Madison; Monroe; Adams; Harbor; Old Kettle; Sunset; Meadow; Orchard; Valley;
    Highland; Ridge; Prospect; Union; Liberty; Pleasant; Rosewood; Fox Run; Deer Creek; Stonebridge; Windmill; Quail Hollow; Martin Luther King"""
)
STREET_KINDS = list_of(
    "Street; St; St.; Avenue; Ave; Ave.; Road; Rd; Rd.; Boulevard; Blvd; Lane; Ln; Drive; Dr; Court; Ct; Circle; Place; Pl; Terrace; Way; Parkway; Pkwy; Highway; Trail; Loop; Row; Square"
)
SITE_STEMS = list_of(
    """Mercy; Sacred Heart; Good Samaritan; Providence; Lakeside; Riverside; Hillcrest; Cedar Crest; Oakwood; Northside; Southgate; Westview; Eastbrook; Summit;
    Pinnacle; Harmony; Evergreen; Bayview; Mountain View; Valley; Sunrise; Green Valley; Maplewood; Brookside; Lakeshore; Baptist; Methodist; Presbyterian;
    Lutheran; Jewish; Holy Cross; Trinity; Memorial; County; Community; Regional; University; Veterans; Children's; Women's; Central; Metro; Metropolitan; City;
    Unity; Liberty; Heritage; Pioneer; Silver Lake; Blue Ridge; Stonegate; Willow Creek; Mission; Our Lady of Lourdes; Queen of the Valley; Bluffview; Harborview"""
)
SITE_KINDS = list_of(
    """Hospital; Hospital; Hospital; Medical Center; Medical Center; Clinic; Clinic; General Hospital; General; Health Center; Health; Health System; Healthcare; Medical Group; Med Center;
    Regional Hospital; Memorial Hospital; Community Hospital; Regional Medical Center; Family Practice; Family Medicine; Pediatrics; Cardiology; Oncology Center; Cancer Center; Cancer Institute;
    Heart Center; Surgery Center; Urgent Care; Rehabilitation Center; Rehab; Nursing Home; Skilled Nursing Facility; Hospice; Dialysis; Imaging Center; Radiology; Infirmary; Eye Institute;
    Orthopedics; Women's Clinic; Outpatient Department; Day Surgery; Assisted Living; Pharmacy; Med Ctr; Hosp; Gen Hosp; Children's Hospital; Pain Clinic; Dental; Behavioral Health; ER"""
)
CARE_SITES = list_of(
    """Mayo Clinic; Cleveland Clinic; Johns Hopkins; Johns Hopkins Hospital; Massachusetts General Hospital; Mass General; MGH; UCLA; UCLA Medical Center; UCSF; UCSF Medical Center; Stanford;
    Stanford Hospital; Stanford Health Care; NYU Langone; Mount Sinai; Mt. Sinai; Cedars-Sinai; Brigham and Women's Hospital; Brigham & Women's; Duke; Duke University Hospital; Emory;
    Northwestern Memorial Hospital; Rush University Medical Center; Yale New Haven Hospital; Vanderbilt; Houston Methodist; MD Anderson; Memorial Sloan Kettering; Sloan Kettering;
    Kaiser Permanente; Kaiser; Bellevue Hospital; Beth Israel; Beth Israel Deaconess; NewYork-Presbyterian; New York Presbyterian; Columbia; Penn Medicine; HUP; UPMC; Geisinger; Intermountain; Banner Health;
    Sutter Health; Scripps; Cook County Hospital; Parkland; Ben Taub; Grady; Jackson Memorial; Tampa General; Barnes-Jewish; Dana-Farber; Boston Medical Center; Tufts; Swedish; Harborview;
    Virginia Mason; OHSU; Baylor; Baylor Scott & White; UT Southwestern; St. Jude; St. Mary's; St. Luke's; St. Joseph's; St. Vincent's; St. Francis; Saint Agnes; St. Elizabeth's;
    Mercy; Mercy General; Good Sam; Guy's Hospital; St Thomas'; Addenbrooke's; Mount Auburn; Lahey; Henry Ford; Beaumont; Ochsner; Tulane; UAB; Wake Forest; the VA; VA Medical Center; CVS; Walgreens; Rite Aid; Walmart pharmacy"""
)
EMPLOYER_KINDS = list_of(
    "Public Schools; Elementary School; High School; Fire Department; Police Department; Foods; Logistics; Steel; Auto Repair; Bakery; Insurance; Bank; University; Community College; Airlines; Transit; Plumbing; Farms; Diner; Post Office"
)
ORDINALS = list_of(
    """first; second; third; fourth; fifth; sixth; seventh; eighth; ninth; tenth; eleventh; twelfth; thirteenth; fourteenth; fifteenth; sixteenth; seventeenth;
    eighteenth; nineteenth; twentieth; twenty-first; twenty-second; twenty-third; twenty-fourth; twenty-fifth; twenty-sixth; twenty-seventh; twenty-eighth; twenty-ninth; thirtieth; thirty-first"""
)
_UNITS = list_of("zero; one; two; three; four; five; six; seven; eight; nine")


def number_in_words(age: int) -> str:
    """90 to 109 in words."""
    tens, unit = divmod(age, 10)
    start = "ninety" if tens == 9 else "one hundred"
    return start if unit == 0 else f"{start}-{_UNITS[unit]}" if tens == 9 else f"{start} and {_UNITS[unit]}"


def below_hundred(number: int) -> str:
    """0 to 99 as the end of a spoken year: 5 is "oh five", 42 "forty two"."""
    if number < 10:
        return f"oh {_UNITS[number]}"
    if number < 20:
        return _TEENS[number - 10]
    tens, unit = divmod(number, 10)
    return _TENS[tens - 2] + (f" {_UNITS[unit]}" if unit else "")


_TEENS = list_of("ten; eleven; twelve; thirteen; fourteen; fifteen; sixteen; seventeen; eighteen; nineteen")
_TENS = list_of("twenty; thirty; forty; fifty; sixty; seventy; eighty; ninety")
SPECIALITIES = list_of(
    """Imaging; Endocrine; Endocrinology; Eye; Spine; Spine & Pain; Pain; Sleep; Sleep Health; Heart; Heart & Vascular; Vascular; Kidney; Renal; Dialysis; Cancer; Oncology; Hematology; Breast; Women's Health; Pediatrics; Family Medicine; Internal Medicine; Primary Care;
    Dermatology; Skin; Allergy; ENT; Ortho; Orthopedic; Sports Medicine; Hand; Foot & Ankle; Podiatry; Neurology; Neuro; Epilepsy; Memory; Behavioral Health; Counseling; Recovery; Psychiatry; Gastro; GI; Endoscopy; Liver; Urology; Fertility; OB/GYN; Midwifery; Birth;
    Surgery; Surgical; Wound; Hyperbaric; Radiology; Open MRI; Lab; Pathology; Physical Therapy; Rehab; Home Health; Home Care; Hospice; Palliative; Infusion; Oxygen; Medical Supply; Drug; Pharmacy; Apothecary; Dental; Vision; Hearing; Veterans; Tribal Health; Rural Health; Express Care; Walk-In"""
)
PRACTICES = list_of(
    """Clinic; Associates; Specialists; Partners; Group; Physicians; Suites; Institute; Center; Centre; Care; Services; Practice; Consultants; Network; PC; LLC; Alliance; Collaborative; Unit; House; Manor; Village; Pavilion; Campus; Annex; ASC; Surgery Center; Medical"""
)


DISEASES = list_of(
    """hypertension; type 2 diabetes; type 1 diabetes; COPD; asthma; congestive heart failure; CHF; atrial fibrillation; coronary artery disease; chronic kidney disease; stage 4 CKD; GERD;
    hyperlipidemia; hypothyroidism; osteoarthritis; rheumatoid arthritis; osteoporosis; depression; anxiety; bipolar disorder; schizophrenia; PTSD; migraine; epilepsy; multiple sclerosis; MS;
    breast cancer; prostate cancer; metastatic ovarian cancer; non-small cell lung cancer; colon cancer; melanoma; acute myeloid leukemia; pneumonia; cellulitis; sepsis; urinary tract infection;
    diverticulitis; cholecystitis; pancreatitis; appendicitis; deep vein thrombosis; DVT; pulmonary embolism; stroke; TIA; myocardial infarction; NSTEMI; aortic stenosis; peripheral artery disease;
    cirrhosis; hepatitis C; HIV; lupus; psoriasis; eczema; gout; anemia; sickle cell disease; iron-deficiency anemia; benign prostatic hyperplasia; kidney stones; sleep apnea; obesity; fibromyalgia;
    carpal tunnel syndrome; rotator cuff tear; lumbar stenosis; L4-L5 disc herniation; T12 compression fracture; hip fracture; C6 radiculopathy; influenza; COVID-19; otitis media; bronchitis; croup; ADHD; autism"""
)
EPONYMS = list_of(
    """Parkinson's disease; Parkinson disease; Alzheimer's disease; Alzheimer's; Graves' disease; Graves disease; Hodgkin lymphoma; Hodgkin's lymphoma; non-Hodgkin lymphoma; Crohn's disease; Crohn disease;
    Addison's disease; Cushing's syndrome; Cushing syndrome; Hashimoto's thyroiditis; Huntington disease; Wilson disease; Wilson's disease; Paget disease; Bell's palsy; Raynaud's phenomenon; Raynaud syndrome;
    Sjogren's syndrome; Sjögren syndrome; Marfan syndrome; Down syndrome; Turner syndrome; Tourette syndrome; Guillain-Barré syndrome; Kawasaki disease; Meniere's disease; Barrett's esophagus; Baker's cyst;
    Dupuytren's contracture; Charcot joint; Lyme disease; Ehlers-Danlos syndrome; Wegener granulomatosis; von Willebrand disease; Friedreich ataxia; Lou Gehrig's disease; Lewy body dementia; Still's disease;
    Murphy's sign; Murphy sign; Homan's sign; Romberg test; Babinski sign; McBurney's point; Lachman test; McMurray test; Phalen's test; Tinel's sign; Hoffman's sign; Kernig's sign; Brudzinski sign; Rovsing sign;
    Weber test; Rinne test; Spurling test; Allen test; Trendelenburg gait; Foley catheter; Hickman catheter; Swan-Ganz catheter; Jackson-Pratt drain; Hartmann's procedure; Whipple procedure; Nissen fundoplication;
    Billroth II; Mohs surgery; Bartholin cyst; Achilles tendon; Doppler ultrasound; Holter monitor; Apgar score; Pap smear; Epley maneuver; Valsalva; Heimlich maneuver; Ringer's lactate; Coombs test; Kussmaul breathing;
    Hawkins-Kennedy test; Neer's test; Neer sign; Speed's test; Yergason's test; O'Brien's test; Thompson test; Ober test; Thomas test; Patrick's test; Apley test; Finkelstein test; Froment's sign;
    Adson's test; Roos test; Lasègue sign; Schober test; Dix-Hallpike maneuver; Ortolani maneuver; Barlow test; Chvostek's sign; Trousseau's sign; Cullen's sign; Grey Turner sign; Virchow's node; Osler nodes; Janeway lesions;
    Baker cyst; Colles fracture; Smith fracture; Jones fracture; Bennett fracture; Salter-Harris type II fracture; Schatzki ring; Mallory-Weiss tear; Boerhaave syndrome; Zenker diverticulum; Meckel's diverticulum; Heberden nodes;
    Bouchard nodes; Osgood-Schlatter disease; Legg-Calvé-Perthes disease; Peyronie's disease; Fournier gangrene; Ludwig angina; Bell palsy; Horner syndrome; Wernicke encephalopathy; Korsakoff psychosis; Brugada syndrome; Wolff-Parkinson-White"""
)
SCORES = list_of(
    """Framingham risk score; Wells score; Glasgow Coma Scale; CHA2DS2-VASc score; HAS-BLED score; MELD score; Child-Pugh class; APACHE II score; Gleason score; Ferriman-Gallwey score; Epworth sleepiness scale; Ranson criteria;
    NYHA class; Hamilton depression scale; Beck Depression Inventory; Barthel index; Karnofsky score; ECOG performance status; Mallampati score; Braden scale; Montreal Cognitive Assessment; Mini-Mental State Examination; MoCA;
    PHQ-9; GAD-7; CURB-65; TIMI score; GRACE score; Centor criteria; Breslow depth; Clark level; Tanner stage; Garden classification; Killip class; Rankin scale; Bishop score; Ballard score; Duke criteria; Light's criteria; Schirmer test"""
)
ORGANISATIONS = list_of(
    "CDC; FDA; WHO; NIH; AHA; ACC; ADA; AAOS; NICE; USPSTF; ACOG; ASCO; NCCN; GOLD; IDSA; EULAR; ESC; KDIGO; AAP; American Heart Association; American Diabetes Association; the Joint Commission; Cochrane; UpToDate; NEJM; JAMA; Lancet; Medicare; Medicaid; Blue Cross Blue Shield; BCBS; Aetna; Cigna; Humana; UnitedHealthcare; Tricare"
)
TRIALS = list_of(
    "GUSTO; SPRINT; ALLHAT; DAPA-HF; PARADIGM-HF; EMPA-REG; RE-LY; ARISTOTLE; ROCKET-AF; JUPITER; CAPRICORN; RALES; ATLAS; Framingham Heart Study; Nurses' Health Study; UKPDS; DCCT; HOPE-3; LEADER; SUSTAIN-6"
)
DRUGS = list_of(
    """lisinopril; metformin; atorvastatin; amlodipine; metoprolol; losartan; omeprazole; levothyroxine; albuterol; gabapentin; hydrochlorothiazide; sertraline; furosemide; prednisone; warfarin; apixaban; clopidogrel; insulin glargine;
    Lantus; Humalog; Novolog; Eliquis; Xarelto; Coumadin; Plavix; Lipitor; Crestor; Zocor; Norvasc; Lasix; Synthroid; Prilosec; Protonix; Nexium; Zoloft; Prozac; Lexapro; Celexa; Wellbutrin; Cymbalta; Xanax; Ativan; Klonopin; Ambien;
    Neurontin; Lyrica; Topamax; Keppra; Depakote; Lamictal; Seroquel; Abilify; Zyprexa; Risperdal; Tylenol; Advil; Motrin; Aleve; Percocet; Vicodin; Norco; OxyContin; tramadol; Bactrim; Keflex; Augmentin; Zithromax; Cipro; Levaquin; amoxicillin;
    doxycycline; vancomycin; ceftriaxone; Humira; Enbrel; Remicade; methotrexate; Plaquenil; Flonase; Singulair; Advair; Symbicort; Spiriva; Ventolin; ProAir; Claritin; Zyrtec; Allegra; Benadryl; Zofran; Reglan; Miralax; Colace; Senna; Imodium;
    Flomax; Proscar; Viagra; Cialis; Fosamax; Boniva; Prolia; Januvia; Jardiance; Farxiga; Ozempic; Trulicity; Victoza; glipizide; carvedilol; spironolactone; digoxin; amiodarone; diltiazem; hydralazine; Entresto; tamoxifen; letrozole; cisplatin;
    doxorubicin; pembrolizumab; Keytruda; rituximab; Botox; Suboxone; naloxone; buprenorphine; lithium; quetiapine; trazodone; melatonin; aspirin; ibuprofen; acetaminophen; Dilaudid; morphine; fentanyl; heparin; Lovenox; vitamin D; folic acid;
    Zarbee's; Mucinex; NyQuil; DayQuil; Theraflu; Robitussin; Pedialyte; Ensure; Gatorade; Tums; Pepto-Bismol; Vicks; Neosporin; Cetaphil; Aquaphor; Dove soap; Vaseline; Centrum; Metamucil; Dulcolax; Afrin; Sudafed; Dramamine; Nicorette; Chantix"""
)
TESTS = list_of(
    """CBC; BMP; CMP; chest X-ray; CT abdomen; MRI brain; MRI lumbar spine; echocardiogram; EKG; ECG; stress test; colonoscopy; mammogram; DEXA scan; HbA1c; TSH; troponin; BNP; D-dimer; INR; lipid panel; urinalysis; blood culture; lumbar puncture; EMG; PFTs; sleep study; biopsy"""
)
LABS = list_of(
    """WBC 7.4; hemoglobin 12.1 g/dL; platelets 218; sodium 138; potassium 4.1 mEq/L; creatinine 1.2 mg/dL; BUN 22; glucose 143 mg/dL; A1c 7.8%; eGFR 45; TSH 2.6 mIU/L; troponin 0.04; LDL 132 mg/dL; HDL 41; INR 2.3; AST 34; ALT 41; BP 128/76; HR 88;
    RR 16; SpO2 97% on room air; temp 98.6 F; T 37.1 C; weight 182 lb; BMI 31.2; EF 55%; pain 6/10; strength 5/5; GCS 15; lactate 1.8; CRP 8.2; ESR 40; vitamin B12 412; ferritin 18 ng/mL; PSA 4.2; pH 7.38; pO2 84; bilirubin 0.9; albumin 3.8; calcium 9.4"""
)
BODY = list_of(
    "left knee; right hip; lower back; L5 vertebra; T12; C6-C7; left shoulder; right wrist; abdomen; chest; neck; right lower lobe; left breast; prostate; thyroid; right ankle; left hand; sinuses; colon; liver; kidney; spleen; aorta; mitral valve; LAD; S1"
)
PROCEDURES = list_of(
    "total knee replacement; CABG; appendectomy; cholecystectomy; hysterectomy; cataract surgery; kidney transplant; hip replacement; C-section; angioplasty; pacemaker placement; thoracotomy; mastectomy; spinal fusion; dialysis; endoscopy; chemotherapy; radiation therapy; skin graft; hernia repair"
)
RELATIVES = list_of(
    "wife; husband; daughter; son; mother; father; sister; brother; niece; nephew; partner; spouse; caregiver; aunt; uncle; grandson; granddaughter; neighbor; friend"
)
ROLES = list_of(
    "attending; resident; PCP; primary care physician; cardiologist; surgeon; nurse; RN; NP; PA; pharmacist; social worker; physical therapist; radiologist; pathologist; referring physician; anesthesiologist; case manager; dietitian; interpreter"
)
SHORT_RELATIVES = list_of(
    "wife; husband; mom; dad; mother; father; dtr; daughter; son; sister; sis; bro; brother; niece; nephew; cousin; aunt; uncle; grandson; grandma; GM; grandpa; partner; spouse; SO; girlfriend; boyfriend; fiancé; ex; stepmom; roommate; neighbor; caregiver; aide; friend; sitter"
)
SHORT_ROLES = list_of(
    "RN; LPN; CNA; MA; tech; OT; PT; RD; SLP; RT; SW; CM; PA; NP; CRNA; MD; DO; resident; intern; fellow; attg; charge RN; sitter; scrub; circulator; monitor tech; rad tech; EMT; medic; unit clerk; chaplain; interpreter; volunteer; scribe; phleb; pharmD; doula; midwife; teacher; coach; counselor; vendor rep; case mgr; sponsor; officer; caseworker"
)
DEPARTMENTS = list_of(
    """General Internal Medicine; Hospital Medicine; Paediatric Cardiology; Pediatric Cardiology; Rheumatology; Department of Rheumatology; Department of Surgery; Division of Nephrology; Interventional Radiology; Urology; Vascular Surgery; Emergency Department; Labor and Delivery; Neonatal ICU;
    Outpatient Pharmacy; Dialysis Unit; Urgent Care; Health Department; Wound Clinic; Anticoagulation Clinic; Infectious Diseases; Palliative Care; Social Work; Physical Medicine; Medical Records; Billing Office; Patient Relations; Infection Control; Utilization Review; Hand Therapy; Speech Therapy; Cath Lab; Echo Lab; Endoscopy"""
)
