"""Paragraphs in several languages."""

PARAGRAPHS = {
    "German": [
        "Die Patientin stellte sich am Montag mit starken Schmerzen in der linken Schulter vor. Sie wurde nach der Untersuchung "
        "entlassen und soll sich in einer Woche wieder vorstellen. Eine Fraktur war auf dem Bild nicht zu sehen.",
        "Pat. klagt über Husten seit 3 Tagen. Kein Fieber. Lunge frei. RR 130/80. Medikation: Ramipril 5 mg 1-0-0, Metformin "
        "500 mg 1-0-1. Procedere: Kontrolle in der Praxis bei Verschlechterung, sonst in 14 Tagen. AU bis Freitag.",
        "Sehr geehrte Damen und Herren, der Schaden an dem Dach wurde durch den Sturm in der Nacht verursacht. Wir bitten um die "
        "Erstattung der Kosten für die Reparatur und legen die Rechnung bei.",
    ],
    "French": [
        "Le patient est venu pour une douleur au genou droit qui dure depuis deux semaines. Il ne prend pas de médicaments. La "
        "radiographie est normale et une séance de kinésithérapie lui a été prescrite.",
        "Nous vous informons que le sinistre déclaré par notre assuré n'est pas couvert par le contrat, les dégâts étant "
        "antérieurs à la date de souscription de la police.",
    ],
    "Spanish": [
        "La paciente acudió a urgencias con fiebre y tos desde hace tres días. No refiere alergias. Se le administró paracetamol "
        "y fue dada de alta con seguimiento por su médico de cabecera.",
        "El demandante solicita la devolución de las cantidades pagadas más los intereses, porque el contrato no se cumplió en "
        "el plazo que las partes habían fijado.",
    ],
    "Dutch": [
        "De patiënt kwam met klachten van hoesten en kortademigheid. Er was geen koorts. Bij onderzoek van de longen werden geen "
        "bijzonderheden gevonden en zij kreeg het advies om over een week terug te komen.",
        "De schade aan het dak is door de storm ontstaan. Wij verzoeken u om de kosten van de reparatie te vergoeden en sturen "
        "de rekening met deze brief mee.",
    ],
    "Polish": [
        "Pacjent zgłosił się z powodu bólu w klatce piersiowej, który trwa od wczoraj. Nie był leczony w szpitalu. Wykonano EKG, "
        "które nie wykazało zmian, i pacjent został wypisany do domu.",
    ],
    "Italian": [
        "Il paziente si è presentato in ambulatorio con dolore al ginocchio da due settimane. Non assume farmaci. La radiografia "
        "è nella norma ed è stata consigliata la fisioterapia.",
    ],
    "Portuguese": [
        "A doente recorreu ao serviço de urgência com febre e tosse há três dias. Não tem alergias. Foi medicada e teve alta com "
        "indicação para ser vista pelo seu médico de família.",
    ],
    "Swedish": [
        "Patienten kom till mottagningen med hosta och feber sedan tre dagar. Det finns inga kända allergier och hon fick "
        "paracetamol. Hon ska komma tillbaka om det inte blir bättre efter en vecka.",
    ],
    "Danish or Norwegian": [
        "Pasienten kom til legen med hoste og feber som har vart i tre dager. Det er ingen kjente allergier, og han ble sendt "
        "hjem med paracetamol. Han skal komme tilbake om det ikke blir bedre.",
    ],
    "Czech": [
        "Pacient se dostavil pro bolesti na hrudi, které trvají od včerejška. Nebyl léčen v nemocnici. Bylo provedeno EKG, které "
        "je bez změn, a pacient byl propuštěn do domácí péče.",
    ],
    "Hungarian": [
        "A beteg azért jelentkezett, mert három napja köhög és lázas. Gyógyszert nem szed. A vizsgálat után hazaengedték, és azt "
        "a tanácsot kapta, hogy egy hét múlva jöjjön vissza, ha nem lesz jobban, vagy már előbb is.",
    ],
    "Romanian": [
        "Pacientul s-a prezentat la urgență cu febră și tuse de trei zile. Nu este alergic la medicamente. A fost tratat și a "
        "fost externat, cu recomandarea de a se prezenta la medicul de familie pentru control.",
    ],
    "Turkish": [
        "Hasta üç gündür süren ateş ve öksürük için acil servise geldi. Bilinen bir alerjisi değil ama ilaç kullanan bir hasta "
        "olarak izlendi ve daha sonra taburcu edildi. Bir hafta sonra kontrol için gelmesi önerildi.",
    ],
    "Finnish": [
        "Potilas tuli vastaanotolle, koska hän on yskinyt kolme päivää ja kuume on noussut. Lääkkeitä ei ole käytössä. Tutkimus "
        "oli normaali, ja hän sai ohjeen tulla uudelleen, jos vointi ei ole parempi viikon jälkeen.",
    ],
    "another script": [
        "Пациент поступил с жалобами на боли в груди, которые продолжаются со вчерашнего дня. Лечение не проводилось.",
        "患者は三日前から咳と発熱があり、昨日から呼吸が苦しくなったため救急外来を受診した。胸部レントゲン写真では右下肺野に浸潤影を認め、肺炎と診断されたため入院となった。",
        "حضر المريض إلى العيادة بسبب ألم في الصدر مستمر منذ يوم أمس ولم يتلق أي علاج قبل ذلك في المستشفى أو في أي مكان",
    ],
}
