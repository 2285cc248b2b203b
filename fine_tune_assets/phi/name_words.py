"""What stands around names, and words and abbreviations that are names only sometimes.

Owns the lists. A word is here as "also a word" if it is in Faker's US or British lists of names and is written in lower
case in MTS-Dialog, ACI-Bench, PubMedQA, GSM8K or Dolly; add what you see masked wrongly.
"""

# ruff: noqa: SIM905 (a list of words is easier to read, and to add to, as text)

ALSO_WORDS = frozenset(
    """a able ache acre amber an and angel any apple april archer arch are arm armstrong arms art as ash at august autumn
    back bacon baker ball bank banks bar barber barn bass battle bay be beach bean bear beard bell bench berry best bill
    bird bishop bit black blank blind blood bloom blow blue board boat bolt bond bone book booth bottle bow bowl box boy
    boys brain branch brand brandy brave bread breast bridge bridges bright broad brook brooks brown bruise buck bull burn
    burns bush butcher butler butter by cage came camp candy cane cannon card care carpenter carter case cash castle
    chamber chambers chance chase cherry chin christian church clay clear cliff clinic close coffee coin cold colon comb
    constant cook cool coral corn cotton couch cough crane crisp cross crow crystal curry daily daisy dale dark dawn day
    days dean dear diamond dick do doll don door dove down downs drew drive drop duck duke dust eagle earl early east
    ember english even ever eye faith fall farm farmer fast fear feather few field fields fine finger fish fisher flood
    flower flowers fly foot for ford foster fox frank free freeze french frost fry full fuller gate gates gay gene gentle
    gill glass glory go goal gold golden good goode gore grace grade grain grand grant grass grave gray great green grey
    gross grove guard guest guide gum guy had hair hall ham hammer hand handler hands hardy harm harmony hart has haste
    hatch hay hazel he head heard heart heaven her heritage high hill hills him his hit hold holiday home honey hood hook
    hope horn house how hunt hunter hurt i ice if in is it ivy jack jade jet jewel joy judge july june keen key keys kidney
    king kitchen knee knight knot lake lamb lame lance land lane large lark last laugh law lay leaf lean least leg lemon
    less light like lily lime line link lip little liver lock long love low lung made major man march mark marks marsh
    mason mast may mayo mays me mercy mile miles milk mill mills min mint miss mole money moody moon more morning moss
    mouth much muscle my nail nash near neck nerve new nice night no noble noon norm normal north nose not now nurse nut oak
    ocean of old olive on only or orange over page paige pain pale palm park parks parrish past pat patience peace peach
    pearl penny pepper per perry piper place plant plum point pole pond pool pope port post potter pound power powers price
    pride prince print privy pulse puma purple quarter queen quick quiet rain rash ravine ray read reading ready real red
    reed rich ring rise river rivers rob rock rode roll root rose rosemary rosin rough row ruby rush rust sage sailor salt
    sally sand sands savage say scale sea self senior shade shaft sharp she shell shepherd shield shin ship shore short
    shot shoulder sick silver singer six skin skinner small smart smooth snow so sol some son song south spear spears speed
    spine spring star starling stay steel stern still stone storm story stout strand stream street strong student summer
    summers sun sweet swell swift tan tanner tear teeth temple tender than the then thick thorn three tide tie to toe
    tongue tooth top tower town trace tree true trust tucker turn turner twin two under up us usual van vein viola violet
    vital wade wait walk walker wall walls want ward warm was wash water waters watts way we wear weaver web weeks weight
    well wells went west wheat wheeler white who why wild will wills winter wise wish with wolf wonder wood woods word work
    worth wright wrist yell young your""".split()
)
"""Names that are ordinary words too: alone, only the capitalised word is the name. Without this, every "good" and "may"
goes from the report of a Dr. Good."""

EPONYMS = frozenset(
    """addison alzheimer apgar babinski baker barrett bartter behcet bell bennett bishop blount bowen bright brown brudzinski
    budd burkitt chaddock charcot chiari colles conn cooley crohn cullen cushing dandy devic dix down dressler dupuytren
    duke ebstein edwards ehlers epstein erb ewing fabry fanconi foley fontan forchheimer frank gaucher gilbert glasgow
    gleason gordon graham graves grave grey guillain hallpike hartmann hashimoto hawkins heimlich henoch hill hirschsprung
    hodgkin hoffman hoffmann holter homan homans horner hunter huntington hurler hutchinson jones kaposi kawasaki kernig
    killip kimmelstiel kleinfelter klinefelter korotkoff korsakoff lachman lewy lisfranc ludwig lynch mallory marfan
    mcburney mcgee mcisaac mcmurray meckel meniere merkel mohs moro murphy neer noonan osler paget parkinson patrick
    perthes peyronie phalen pick pott prader ramsay raynaud reiter reye reynolds rinne romberg rovsing russell samter
    schilling sever sheehan sjogren sims smith spurling starling stevens still swan sydenham tay thomas thompson tinel
    todd tourette trendelenburg turner valsalva virchow von weber wegener wells wernicke whipple willebrand williams
    wilms wilson wolff wood""".split()
)
"""Persons after whom something in medicine is called."""

EPONYM_NOUN = (
    r"(?:disease|syndrome|sign|test|palsy|maneuver|manoeuvre|criteria|score|scale|lymphoma|thyroiditis|contracture|cyst"
    r"|catheter|chorea|dementia|bodies|body|esophagus|oesophagus|fracture|phenomenon|monitor|procedure|reflex|triad|tumou?r"
    r"|sarcoma|carcinoma|hernia|point|position|node|nodes|ulcer|gangrene|paralysis|ataxia|anomaly|malformation|nephropathy"
    r"|encephalopathy|psychosis|orbitopathy|ophthalmopathy|dermopathy|classification|grade|stage|lamp|duct|gland|forceps"
    r"|retractor|solution|pouch|diverticulum|arthropathy|joint|deformity|law|curve|index|impingement|operation|stain|tick"
    r"|virus|infection|agglutination|patch|patches|lines?|spots?|nodules?|type|coma|equation|granulomatosis|tendon|drain|purpura"
    r"|neuroma|protocol|technique|lactate|fundoplication|gait|levels?|tear|ring|lesions?)"
)

TITLES = frozenset(
    "dr mr mrs ms mx mister missus miss prof professor doctor sir madam rev reverend sister nurse".split()
)
SPOKEN_TITLES = frozenset(("doctor", "nurse", "sister", "miss", "sir", "madam"))
"""After these, a word in lower case may be any word: the doctor will see you."""

CREDENTIALS = frozenset(
    """md do mbbs mbchb phd dds dmd dpm dvm od pharmd psyd rn lpn lvn np aprn crnp fnp pa pac dnp msn bsn ms ma bs ba mph mba
    pt dpt ot otr slp rd ldn lcsw lmft lpc facs facp facc faap frcs frcp frcpc mrcp esq ccc jr sr ii iii iv""".split()
)
PARTICLES = frozenset(
    """van von der den de del della di da das dos du la le los las el al bin ibn ben bint ter ten te zu zur zum af av y e
    mac mc st san santa abu""".split()
)
NO_NAMES = frozenset(
    """unknown none null na nil self patient physician doctor provider attending resident referring staff nurse unassigned
    anonymous anon test baby boy girl male female infant newborn unidentified not available given name other family the
    undefined deceased clinic hospital department team""".split()
)
"""What fields for names hold when there is no name."""

ABBREVIATIONS = frozenset(
    """AA AB AC AD AF AG AI AK AL AM AN AO AP AR AS AV AZ BC BD BE BF BG BI BID BK BM BMI BO BP BR BS BT BW CA CAD CAP CBC
    CC CD CE CF CHF CI CK CKD CM CN CNS CO COPD CP CPR CR CS CSF CT CTA CV CVA CVP CVS CXR DC DD DE DI DIC DJD DKA DL DM DNR
    DO DOB DOE DP DR DS DT DTR DVT DX EBV EBL EC ECG ECT ED EDC EEG EF EGD EJ EKG EM EMG EMR EMS EN ENT EOM EP ER ERCP ESR
    ET ETT EU FB FEV FFP FH FHR FL FM FNA FS FT FU FX GA GB GC GCS GE GERD GFR GI GM GP GS GT GTT GU GYN HA HAV HB HBV HC
    HCG HCT HCV HD HDL HF HG HI HIV HL HLA HO HPI HPV HR HRT HS HSV HT HTN HX IA IABP IBD IBS IC ICD ICP ICU ID IDA II III
    IL IM IN INR IO IOP IP IPF IQ IR IS IT IU IUD IV IVC IVF IVP JIA JP JR JV JVD JVP KUB KS KY LA LAD LAO LB LBP LCA LD LDH
    LDL LE LFT LI LL LLL LLQ LM LMP LOC LP LPM LPN LR LS LT LUL LUQ LV LVH LVN MA MAC MAP MB MC MCA MCH MCL MCV MD ME MG MI
    ML MM MMR MN MO MP MR MRA MRCP MRI MRSA MS MSE MT MV MVA MVP NAD NB NC ND NE NG NH NICU NJ NK NKA NKDA NL NM NMR NO NP
    NPO NR NS NSR NT NV NY OA OB OCD OD OE OH OK OM ON OR OS OSA OT OTC OU OX PA PAC PACU PAD PAP PAT PC PCI PCL PCN PCOS
    PCP PCR PD PDA PE PEEP PEG PERRL PET PFT PG PH PI PICC PID PIP PL PM PMH PMS PND PO POC PP PPD PPI PR PRN PS PSA PT PTA
    PTH PTT PTSD PUD PV PVC PVD QD QHS QID QOD QT RA RAD RAO RBBB RBC RCA RD RDS RE RF RH RI RLL RLQ RML RN RNA ROM ROS RPR
    RR RRR RS RSV RT RTC RUE RUL RUQ RV RVH RX SA SAH SB SBO SC SCD SCI SD SE SH SI SIADH SL SLE SLP SLR SN SOB SP SPF SQ SR
    SSN SSRI ST STD STI SVC SVT SW SX SZ TAH TB TBI TD TEE TENS TFT THA THC TIA TIBC TID TKA TKR TM TMJ TN TNF TO TP TPA TPN
    TR TRH TS TSH TT TTE TURP TV TX UA UC UE UGI UH UK UL UMN UN UO UP URI US USA UT UTI UV VA VC VD VF VI VII VIII VL VP VS
    VSD VT VTE VZV WA WBC WC WI WNL WPW WT WV WY XI XII XR YO AAA ABG ACE ACL ACS ACTH ADA ADD ADH ADHD AFB AFP AIDS AKA ALL
    ALP ALS ALT AMA AMI AML ANA AND ANS APD ARB ARF ARM ART ASA ASD AST ATN AVM AVN BAL BBB BCC BKA BLE BMP BMT BNP BPH BPM
    BSA BSO BUE BUN CAM CABG CLL CML CMV CPK CPM CRF CRP CSA DAT DES DNA DOT DPT DSM EAR EYE FEN FOR FSH FTT FUO GBS HAL
    HEP HIP HIS HER HOW HUS IAN IDD IGA IGE IGG IGM ITP JAW KEN KIM LAB LEG LES LOW MED MEN MET MGM MOM MND NEC NOW NOT OLD
    ORD PAN PEN PIN POP RAY REM RIB RON ROB SAM SAN SIS SUE TAB TED TEN THE TIM TOE TOM VAL WAS WHO WHY YES ZIP
    DA DF DN DO DSA FAM FC FD FE FF FH FI FO GF GH GN GT HH HM HO HP HW IH IJ JC JN JT KG LC LH LN LO LS LT MBA MF MH MRT MT
    NA NF NO NW NZ OG OI OP OW PG PJ PK PN PU RE RG RI RO RP RU SF SG SJ SK SR SU SV TC TE TG TI TL TS UD UG UM UR VB VN WA WM
    WS WR XL XS XT BCG BSN BSC CEO DNP EMT FNP LCSW MSC MSW NNP PHD RPH RRT SRN
    AAI AAS ABC ABI ABP ABS ACC ACQ ACT ADC AEA AGA AHI AHR AIM AIS AKT AMP APC APT ASO ATA ATC AUC AVR BDD BDI BHR
    BMD BMR BSI BV BVM CAB CCB CDM CES CFI CFU CHB CHD CIP CLM CMP CNR COS COX CPI CPT CRL CRM CRT CSS CTV CVD DAR DBE
    DFS DFV DGE DH DIP DPH DSE DSI DSS DST DXA EOA EOC EOL ES ESS ETA ETS EUS FAC FAP FBC FDG FDS FPG FSS FTR FV GDM
    GDP GEM GES GFD GSH GUM HAM HCA HCC HCL HCM HDM HIA HIE HPC IAC IAD ICE ICS IFG IHC IHD IIP ILI IMN IMT INB INF
    IPE IQR ISF ISI ISS IUI JAS KHQ LAS LBR LF LHM LNM LOS LRT LSG LTG LUS LVP MBC MCP MCS MDA MDD MDE MEP MGP MHC MIC
    MPV MSK MSU MTG MTP NAC NAH NBP NCH NIH NPC NPH NPV NSC NSW NUD OTA PAR PAS PB PBB PBP PCO PCT PFS PHP PHQ PLT PPM
    PPV PRK PRP PTC PVL PVR PVT QA QCT QDS QOL QRS RAQ RC RCT RHF RHM RHR RNP ROC ROP RSB RTS RVP SBA SBK SCL SDI SDM
    SEP SGA SIB SIG SLL SLN SLT SMI SNP SNR SSS SUP SWL TAA TAC TCR TDM TDP TEG TGF TKI TNM TPT TSP UFC ULT UNP UTG
    VAP VAS VCE VHL VMS WAT WOI YAG ZNS""".split()
) - {"DOE", "IAN", "KEN", "KIM", "RON", "ROB", "SUE", "TIM", "TOM", "RAY"}  # fmt: skip
"""What capitals mean in notes, and the states of the USA: never taken for initials. With what two or three capitals stand twice
in the notes of MTS-Dialog, ACI-Bench and PriMock57 and in PubMedQA."""

DOTTED_ABBREVIATIONS = frozenset(
    """MD DO PT OT ER ED RN PA NP PO PR IV IM SC US UK UN ID BP HR RR TB AM PM BS BA MA MS DC CC CT MR VA AD BC OD OS OU OR
    ST DR JR SR PE PH RX ICU ENT DOB SSN USA MRI DDS DPM BID TID QID PRN NPO ROS HPI""".split()
)
"""What is written with dots and is no name: M.D., p.o."""
