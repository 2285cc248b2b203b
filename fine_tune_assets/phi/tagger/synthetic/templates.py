"""Sentences with places for identifiers, in the manner of notes, forms, letters, messages, questions and speech.

Owns the sentences. `{name}` and the like are filled by `documents`; what each means is said there. Our own text.
"""


def lines_of(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.strip().split("\n") if line.strip())


SENTENCES = lines_of("""
{name} was seen by Dr. {doctor} at {facility} on {date}.
{name} is a {age}-year-old {sex} from {place} with {disease} and {disease}.
Patient {name} (MRN {mrn}) presented to {facility} on {date} with {disease}.
The patient, {name}, was admitted on {date} and discharged on {date}.
She lives at {address} with her {relative} {name}.
He lives in {place} and works at {employer}.
Her {relative}, {name}, can be reached at {phone}.
Contact: {relative} {name}, {phone}.
Emergency contact is {name} ({relative}), phone {phone}, email {email}.
Please call {phone} or fax {fax} with questions.
Call back number {phone}. E-mail {email}.
Results were faxed to {fax} on {date}.
Referred by Dr. {doctor} of {facility}, {place}.
Dr. {doctor} and Dr. {doctor} agreed with the plan.
Discussed with {name}, {role}, at {clock}.
Seen and examined with {name}, MD.
Electronically signed by {name}, MD on {date} at {clock}.
Dictated by: {name}. Transcribed by: {name}. Date: {date}
cc: {name}, MD; {name}, NP
Mr. {last} reports that his pain is {score} out of 10.
Mrs. {last} denies chest pain. Ms. {last} was started on {drug} {dose}.
Mr. and Mrs. {last} agree with the plan.
{first} states that the symptoms began {duration} ago.
{first}'s {relative} brought {first} to the clinic.
{last} was last seen in {date}.
The patient's social security number is {ssn}. SSN: {ssn}.
SSN {ssn}, DOB {date}, MRN {mrn}.
DOB: {date}    Age: {age}    Sex: {sexletter}
Born on {date} in {place}.
Insurance: member ID {plan}, group {id}, policy number {plan}.
Medicare number {plan}; Medicaid ID {plan}.
Account number {account} was billed on {date}.
Invoice {account} for the visit of {date}.
Accession number {id}; specimen {id} was received on {date}.
Encounter {id} was closed by {name}.
Claim {id} was denied. Authorization {id} was issued.
Prescription number {id} for {drug} {dose}.
NPI {npi}. DEA {dea}. License number {license}.
Driver's license {license}, vehicle plate {vehicle}.
VIN {vehicle}, plate {vehicle}.
The pacemaker (serial number {device}) was interrogated on {date}.
Device {device} was implanted at {facility}.
The home monitor reports to {url} from {ip}.
Portal access from IP address {ip}; link {url}.
See {url} or write to {email}.
The patient is {age90} years old.
This {age90}-year-old {sex} lives alone.
A {age90} y/o {sex} with {disease}.
Patient age: {age90}. AGE {age90} {sexletter}
Went to the ER at {facility} on {date} and to ward 4 at {facility}.
She turned {age90} in {date}. Age {age90}.
At the age of {age90} he still drives.
She was transferred from {facility} to {facility} on {date}.
Transferred to {facility} in {place} for {procedure}.
Underwent {procedure} at {facility} on {date} by Dr. {doctor}.
Her {disease} was diagnosed at {facility} in {date}.
Follow up with Dr. {doctor} at {facility} on {date} at {clock}.
Next appointment {date} with {name}.
Return to see {doctor} in {duration}.
The {relative} works for {employer} as a driver.
He retired from {employer}. Employer: {employer}
She grew up in {city} and moved to {city} in {year}.
Pharmacy: {facility}, {phone}.
The surgical team at {facility} reviewed the {test} of {date}.
Study performed at {facility} and compared with {date}.
COMPARISON: {test} dated {date}.
Ordering provider {name}; reading physician {name}.
Specimen collected {date} {clock}, reported {date} {clock}.
Consent was signed by {name} on {date}.
Code status was discussed with her {relative} {first}.
His friend {first} drove him from {city}.
The patient goes by {first}. Preferred name: {first}.
Patient name: {name}
Name: {name}  DOB: {date}  MRN: {mrn}
Re: {name}, DOB {date}
RE: {name} ({mrn})
{name}, {age}{sexletter}, {disease}
{doctor} to see patient tomorrow.
Per {doctor}, hold {drug}.
Spoke with {first} at the {facility} pharmacy about {drug}.
Message left for {name} at {phone} on {date}.
ZIP {zip}. Lives in zip code {zip}.
Mail records to {address}.
Home address: {address}. Phone: {phone}.
Registered under {mrn}, room 4{digit}2.
Chart {mrn} was pulled; see also record {mrn}.
Hospital number {mrn}. Patient ID: {mrn}
Case #{id} was discussed on {date}.
Badge {id} scanned at {clock}.
Reference {id} / order {id}.
The interpreter {name} (ID {id}) assisted.
{name} - {role} - {phone}
Between {date} and {date} she was at {facility}.
From {date} to {date} he took {drug}.
As of {date} the wound has healed.
Last menstrual period {date}. Estimated due date {date}.
Immunizations: influenza {date}, Tdap {date}.
The accident happened on {date} near {city}.
Record date: {date}
Admission Date: {date}    Discharge Date: {date}
DD: {date}  DT: {date}  JOB: {id}  VOICE: {digits}
D: {date} T: {date} {clock}
{name}, M.D. {date} {clock}
Attending: {name}  Resident: {name}  Unit: {digit} East
{last}, {first} {mrn} {date}
pt of Dr {doctor}, last seen {date}, lives w {relative} {first} in {city}
called {first} at {phone}, left vm. will try again {date}
Transferred from {facility} ED. Accepting: Dr. {doctor}. EMS run {id}.
{facility} records were requested by fax {fax} on {date}.
Patient states "{first} told me to come". {first} is her {relative}.
He is a teacher at {employer} and coaches in {city}.
She works at {employer}; her {relative} {first} stays home.
The family moved here from {place} in {year}.
Scheduled with {doctor} ({role}) {date} at {clock}, {facility}.
User {first} logged in from {ip} at {clock} on {date}.
Plan of care reviewed with {name} and {relative} {first}; both agree.
{name} was born on {date} at {facility} in {place}.
Wound cultured {date}: specimen {id}.
Implanted {device} (lot {id}, serial {device}) by Dr. {doctor}.
ID bracelet {id} checked. Chart copied to {facility}, {address}.
{date}: {lab}. {date}: {lab}. {date}: {lab}.
{date} {clock} {name} RN: pt resting, {lab}.
Since {date} the patient has been under the care of {name} at {facility}.
Letter sent to {name}, {address}, on {date}.
Her maiden name is {last}. Nickname {first}.
Drs. {last} and {last} will cover. Thanks, {first}
Best, {first} {last}
{first} {last} ({age}{sexletter}) - {disease} - {facility} - {date}
Visit #{id} {date} {facility} {doctor}
Patient portal message from {name} ({email}): "please call {phone}"
Patient resides in {place} and attends {facility}.
""")

CLEAN = lines_of("""
The patient is a {age}-year-old {sex} with a history of {disease} and {disease}.
{age}{sexletter} with {disease}, on {drug} {dose}.
No evidence of {eponym}. {eponym} was considered.
{eponym} is negative.
Exam shows a positive {eponym}.
The {scorename} is {score}.
{scorename} of {score} at admission.
Started on {drug} {dose} and {drug} {dose}.
Continue {drug}, {drug} and {drug}.
Allergies: {drug}, {drug}.
Labs: {lab}, {lab}, {lab}.
{lab}; {lab}. {lab}.
Pain in the {body} for {duration}.
{test} of the {body} was unremarkable.
{test} pending. Recheck {test} in {duration}.
Return in {duration}. Follow up in {duration}.
Symptoms began {duration} ago and last {duration}.
Status post {procedure} in {year}.
History of {procedure} in {year}; {disease} since {year}.
Diagnosed with {disease} in {year}.
According to the {year} {organisation} guidelines, {drug} is first line.
The {trial} trial ({year}) supports {drug}.
Seen at {clock}; vitals at {clock}: {lab}, {lab}.
Take {drug} at {clock} and {clock}.
ICD-10 {icd}, CPT {cpt}. Public reference PMID {pmid}, published {year}.
Levels L4-L5 and T12 show degeneration; C6 is normal.
Blood type O positive; HLA-B27 negative; CD4 412; CD20 positive.
Cancer stage T2N0M0, ER positive, HER2 negative.
BRCA1 and JAK2 testing was negative.
Weight 182 lb, height 5'7", BMI 28.4.
He smokes one pack per day and drinks {digit} beers a week.
She has {digit} children. Her mother had {eponym}.
Family history: father with {disease}, mother with {disease}.
Glasgow Coma Scale 15, pupils equal, alert and oriented x3.
Heart rate regular; no murmurs. Lungs are clear to auscultation bilaterally.
Abdomen soft, nontender. Bowel sounds present.
The patient may return to work. May shower.
Will follow. Good response to therapy. Stable on {drug}.
Patient denies fever, chills, chest pain or shortness of breath.
Rice, bananas and toast for {duration}. Dr. Pepper and Grey Goose are to be avoided.
IMPRESSION: {disease}. PLAN: {drug} {dose}.
HISTORY OF PRESENT ILLNESS: {age} yo {sex} with {disease}.
ASSESSMENT AND PLAN
PAST MEDICAL HISTORY: {disease}; {disease}; {eponym}.
MEDICATIONS: {drug} {dose}, {drug} {dose}
REVIEW OF SYSTEMS: negative except as above.
Chief Complaint: {disease}
Physical Exam: {lab}, {lab}.
Lantus {digit}0 units at bedtime, Humalog sliding scale.
Room air saturation 97%. Peak flow 410. EF 55-60%.
About {digit} out of 10 pain, worse with walking {digit} blocks.
The American Heart Association and the {organisation} recommend {test}.
Caucasian, Hispanic and African American patients were included in {trial}.
Model Zimmer NexGen size {digit} was used. Lot size 20 ml.
Sleeps {digit} hours. Walks 20 minutes daily. Drinks 1.5 L per day.
Room {digit}, bed {digit}. Page {digit} of {digit}.
Medicare patient, private insurance, employed, married.
CT with 100 mL Omnipaque 350. Dose 12.5 mGy. Series {digit}, image 104.
Gravida 3 para 2. LMP {duration} ago. 38 weeks 4 days.
She is in her {digit}0s. At age {age} he had {procedure}.
Nurse will call with results. The resident will see the patient today.
Patient seen in the emergency room, then in the ICU, by cardiology.
Creatinine rose to 2.1; there is hope that it will fall. Mark the site before surgery.
A bill was sent. The grace period ends in {duration}. Art therapy and gene therapy were offered.
Pat the skin dry. Early dawn phenomenon. He may drive. She will return in {duration}.
Dental crown, white plaque, brown sputum, black stool, green discharge, gray matter.
Long-standing pain, short of breath, young adult, strong pulses, sharp pain, good hygiene.
Rest, ice, compression and elevation. Wound care daily. Fall precautions. Diet: clears.
Discharge condition: stable. Disposition: home with services. Activity: as tolerated.
Day 3 of 7 of {drug}. POD 2. HD 4. Week {digit} of treatment. Cycle {digit} of {drug}.
Plan: 1. {drug} {dose} 2. {test} 3. follow up in {duration}
O2 sat 94% on 2L NC. Tmax 101.2. I/O 1200/850. Pain {digit}/10. MAE 5/5 x4.
{digit}.{digit} x {digit}.{digit} cm mass in the {body}; SUV {digit}.{digit}; series {digit} image 44.
{age} y.o. {sex} c/o {disease} x {duration}. PMH {disease}, {disease}. SH: no tobacco. FH: {eponym}.
The Monday clinic, the night shift and the holiday schedule do not change the plan.
Patient education on {disease} was given in English. Translator not needed.
Insurance covers {drug}. Prior authorization is pending. Copay is $20. Cost $1,250.
Admitted to ward 7B, bed 12. Went to the ER and then to the ICU. Parked in the north lot.
Seen last week, last month and yesterday. Return tomorrow, next week or in the morning.
Positive {eponym}. Negative {eponym} and {eponym} bilaterally.
Insurance: {organisation}. No other coverage.
Uses {drug} and {drug} from the drugstore for {duration}.
The patient is {age} years old. Age {age}. PATIENT AGE: {age}. A {age} year old.
Sees a specialist in the city once a month; the clinic is across the street.
Protein 6.8, albumin 3.9, Alk phos 88, total bili 0.7, lipase 32, amylase 45, LDH 210.
""")

QUESTIONS = lines_of("""
What are the guidelines for managing {disease} in a {age}-year-old {sex}, {name}, seen at {facility} on {date} (MRN: {mrn})?
Best practices for {disease} in {name}, {age}, last seen at our {city} {clinicword} on {date}?
Is {drug} safe for {name}, a {age}-year-old {sex} with {disease}, who was admitted to {facility} on {date}?
tx options for pt w/ {disease}, {name}, {facility} on {date}, mrn {mrn}
pt {name} dx'd w/ {disease} at {facility}, {date}. insurance {plan}
rec dose of {drug} for {age}yo {sex} {name}, seen {date} @ {facility}; ph {phone}
Recommendations for {procedure} in a {age}-year-old {sex} patient of Dr. {doctor} from {place} (SSN: {ssn})?
What is the prognosis for {disease} in {name} living in {place}, zip {zip}? Email: {email}
Can {name} take {drug} after {procedure} at {facility}? Reference {id}, insurance number {plan}.
How should {eponym} be treated in {name}, age {age90}, seen by Dr. {doctor} on {date}?
Latest {organisation} recommendations for {disease} for {name} of {place}, policy number {plan}?
Please review the chart of {name} (DOB {date}, {mrn}) from {facility} and advise on {drug}.
mgmt of {disease} in {age}yo {sex}, {name}, d/c'd from {facility} {date}, med rec# {mrn}
{drug} vs {drug} for {name} ({facility}, {city})? contact {email} or {phone}
""")
CLEAN_QUESTIONS = lines_of("""
What are the {year} {organisation} guidelines for {disease} in a {age}-year-old {sex}?
Is {drug} safe in a {age}-year-old {sex} with {eponym} and {disease}?
What does a {scorename} of {score} mean in {disease}?
Effect of {drug} {dose} on {disease} in the {trial} trial?
tx for {age}yo {sex} w/ {disease}, {lab}, {lab}?
Prognosis of {disease} diagnosed in {year} with a {scorename} of {score}?
What are the side effects of {drug} and {drug} in a {age}-year-old with a family history of {eponym}?
Recommended follow-up after {procedure} in {year} for {disease}, last seen {duration} ago?
Is {eponym} associated with {eponym}? Updated {organisation} position since {year}?
Dose of {drug} for {age} y/o {sex} with eGFR of 4{digit} and {lab}?
""")
SPEECH = lines_of("""
[doctor] hi {firstl} how are you today
[doctor] hello {firstl} , good morning . [patient] hi dr. {lastl} , good morning
[doctor] hey dragon , i'm here with {namel} , she's a {age} year old female here for {disease} . hi {firstl}
[doctor] so {firstl} is a {age} year old male with a past medical history of {disease} , what's going on {firstl}
[doctor] alright , {firstl} , let's take a look at that {body}
[patient] well dr. {lastl} it started about {duration} ago
[patient] thank you dr. {lastl} . [doctor] you're welcome {firstl} , take care
Doctor: Good afternoon, Mrs. {last}. Patient: Hello, Doctor {last}.
Doctor: What brings you in, {first}? Patient: My {body} hurts, doctor.
Guest_family: Hi, I'm {first}, her {relative}. Doctor: Nice to meet you, {first}.
Doctor: My name is Dr. {doctor}, I work at {facility}. Patient: I'm {name}.
Doctor: Can you confirm your date of birth? Patient: It's {date}.
Patient: I live in {city} with my {relative} {first}. Doctor: Okay.
[patient] i was at {facilityl} in {datel} and dr. {lastl} put me on {drug}
[doctor] {firstl} {lastl} , date of birth {datel} , medical record number {digits}
[patient] my {relative} {firstl} said i should come in . [doctor] okay great
Doctor: And your phone number? Patient: {phone}. Doctor: And the address? Patient: {address}.
[doctor] i'm gonna send you to dr. {lastl} over at {facilityl} okay {firstl}
[patient] hey , good to see you . [doctor] good to see you too , {firstl}
[doctor] mr. {lastl} is a pleasant {age} year old gentleman
[doctor] next patient is {namel} uh date of exam {datel}
[doctor] hey {firstl} i see here you have some {body} pain , mister {lastl}
""")
HEADERS = lines_of("""
PATIENT: {name}|DOB: {date}|MRN: {mrn}|DATE OF SERVICE: {date}|PHYSICIAN: {name}, MD|FACILITY: {facility}
Patient Name: {name}|Date of Birth: {date}|Medical Record #: {mrn}|Account #: {account}|Attending: Dr. {doctor}
Name: {name}|Address: {address}|Phone: {phone}|Email: {email}|SSN: {ssn}
{facility}|{address}|Tel {phone}  Fax {fax}|{url}
DISCHARGE SUMMARY|Patient: {name}|Admit date: {date}|Discharge date: {date}|Attending physician: {name}
RADIOLOGY REPORT|EXAM DATE: {date}|ACCESSION: {id}|PATIENT: {name}|REFERRING: {name}|MRN: {mrn}
PATHOLOGY|Case: {id}|Collected: {date}|Received: {date}|Patient: {name}, {age} {sexletter}|Submitting: Dr. {doctor}, {facility}
From: {name} <{email}>|To: {name} <{email}>|Date: {date}|Subject: {disease}
Subscriber: {name}|Member ID: {plan}|Group: {id}|Claim: {id}|Date of service: {date}
Insured: {name}|Policy: {plan}|Guarantor: {name}|Account: {account}|Employer: {employer}
Next of kin: {name} ({relative})|Phone: {phone}|Address: {address}
Specimen ID: {id}|Order: {id}|Ordering provider: {name}|NPI: {npi}|Collected: {date} {clock}
Rx: {drug} {dose}|Rx number: {id}|Prescriber: {name}|DEA: {dea}|Pharmacy: {facility}
Device: {device}|Serial: {device}|Implanted: {date}|Surgeon: {name}
name={name};dob={date};mrn={mrn};phone={phone};ip={ip}
| Patient | {name} ||| DOB | {date} ||| MRN | {mrn} |
Dear Dr. {doctor},|Thank you for referring {name} (DOB {date}) to {facility}.
Sincerely,|{name}, MD|{facility}|{phone}
{name}|{address}|{date}|Dear Mr. {last},
Unit: 4 West|Patient: {name}|Nurse: {name}, RN|Shift: {clock}-{clock}
""")
