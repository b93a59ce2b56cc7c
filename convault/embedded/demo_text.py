"""Made-up people, subjects and sentences of a school, in Portuguese and English.

Nobody is meant by any name; addresses end in `example.org`, telephone numbers are of ranges that
are reserved for fiction.
"""

from __future__ import annotations

import random
from typing import Literal

Language = Literal["pt", "en"]


def _each(text: str) -> list[str]:
    return text.split("|")


_FIRST = {
    "pt": _each(
        "Ana Beatriz|João|Maria Clara|Pedro|Antônio|Luísa|Conceição|Caetano|Inês|Thaís|José|"
        "Lívia|Mateus|Iara|Sebastião|Estêvão|Fátima|Raí|Zuleica|Otávio"
    ),
    "en": _each(
        "Emma|Liam|Aisha|Noah|Siobhán|Grace|Oliver|Zoë|Harriet|Ethan|Priya|Chloe|Samuel|"
        "Niamh|Theo|Ruby|Kwame|Isla|Björn|Mei"
    ),
}
_LAST = {
    "pt": _each(
        "da Silva|Gonçalves|Araújo|Conceição|D'Ávila|Magalhães|Brandão|Sant'Anna|Pacheco|"
        "dos Anjos|Queirós|Falcão|Muñoz|Teixeira|Prado"
    ),
    "en": _each(
        "O'Brien|Smith-Jones|Okafor|MacDonald|Patel|Nguyễn|Walker|D'Souza|Fitzgerald|Łuczak|"
        "Hughes|Andersson|Baker|Clarke|Oyelaran"
    ),
}
SUBJECTS = {
    "pt": _each(
        "Reunião de pais|Boletim do {n}º bimestre|Mensalidade em atraso|Excursão ao museu 🦕|"
        "Falta de {name}|Uniforme|Matrícula {year}|Cardápio da cantina|Transporte escolar|"
        "Autorização de saída|Aula de reforço|Feira de ciências 🔬"
    ),
    "en": _each(
        "Parents' evening|Report card, term {n}|Overdue fee|Field trip to the museum 🦖|"
        "Absence of {name}|Uniform|Enrolment {year}|Lunch menu|School bus|Permission slip|"
        "Extra maths lessons|Science fair 🧪"
    ),
}
_SENTENCES = {
    "pt": (
        "Bom dia, {name}!",
        "Boa tarde, tudo bem? 😊",
        "A {name} não vai à aula hoje, está com febre de 38,{m} °C.",
        "O boletim do {n}º bimestre já está no portal.",
        "A reunião ficou para o dia {day} às {hour}h{min:02d}, na sala {room}.",
        "Segue em anexo o comprovante de R$ {amount},{min:02d}.",
        "Poderia confirmar o recebimento, por favor?",
        'Ele disse: "não esqueça a lancheira" – e esqueceu a mochila 🤦🏽‍♀️.',
        "Obrigada!! 🙏🏼❤️",
        "A turma {room} vai ao museu; a saída é às {hour}h.",
        "Não consegui abrir o arquivo C:\\escola\\boletim_{n}.pdf.",
        "A van nº {room} atrasou {min} minutos de novo…",
        "O {name} tirou {n},{m} em matemática, parabéns! 🎉",
        "Preciso trocar o tamanho do uniforme de {n} para {m}.",
        "A coordenação avisa que não haverá aula em {day}/0{n}.",
        "Qual é o prazo para a matrícula de {year}?",
        "Já paguei a mensalidade; o código é {code}.",
        "Combinado 👍",
    ),
    "en": (
        "Good morning, {name}!",
        "Hi there, hope you're well 🙂",
        "{name} won't be in today: a temperature of 38.{m} °C.",
        "The report card for term {n} is on the portal now.",
        "The meeting moved to the {day}th at {hour}:{min:02d} in room {room}.",
        "Please find the receipt for £{amount}.{min:02d} attached.",
        "Could you confirm that you've got this?",
        "She said \"I've left it on the bus\", so that's one more lunch box gone.",
        "Thank you so much! 🌟",
        "Class {room} is going to the museum; the coach leaves at {hour} sharp.",
        "I can't open the file \\\\server\\forms\\slip_{n}.docx.",
        "Bus {room} was {min} minutes late again...",
        "{name} got {n}{m} % in maths, well done! 🎉",
        "We need to swap the jumper, size {n} instead of {m}.",
        "School is closed on {day}/0{n}, see https://school.example.org/news?id={code}&lang=en",
        "What's the deadline for {year} enrolment?",
        "The fee is paid, reference {code}.",
        "OK 👍",
    ),
}
_SEPARATORS = (" ", " ", " ", "\n", "\n\n", "\r\n", "\t")
TAGS = (
    "urgente", "financeiro", "matrícula", "falta", "saúde", "transporte", "absence", "fees",
    "follow-up", "trip, museum", 'the "new" portal', "a\\b", "👩‍👩‍👧‍👦", "", "null",
)  # fmt: skip
FILE_NAMES = _each(
    "comprovante.pdf|boletim 2º bim.pdf|IMG_{code}.jpg|autorização assinada.pdf|receipt #{n}.pdf|"
    "foto da turma 📷.png|permission slip.docx|áudio {code}.ogg|lista; final (v{n}).xlsx|video.mp4"
)


def person(rng: random.Random, language: Language) -> str:
    """A full name."""
    return f"{rng.choice(_FIRST[language])} {rng.choice(_LAST[language])}"


def filled_in(rng: random.Random, template: str, language: Language) -> str:
    """`template` with every {slot} taken by something random."""
    if "{" not in template:
        return template
    return template.format(
        name=rng.choice(_FIRST[language]),
        n=rng.randrange(1, 10),
        m=rng.randrange(10),
        day=rng.randrange(10, 29),
        hour=rng.randrange(8, 19),
        min=rng.randrange(60),
        room=rng.randrange(100, 420),
        amount=rng.randrange(40, 2400),
        year=rng.randrange(2026, 2028),
        code=f"{rng.getrandbits(40):010X}",
    )


def subject(rng: random.Random, language: Language) -> str:
    """What a conversation is about."""
    return filled_in(rng, rng.choice(SUBJECTS[language]), language)


def body(rng: random.Random, language: Language) -> str:
    """A message's text: mostly one or two sentences, now and then pages of them."""
    count = min(int(rng.paretovariate(1.15)), 150)
    sentences = _SENTENCES[language]
    text = filled_in(rng, rng.choice(sentences), language)
    for _ in range(count - 1):
        text += rng.choice(_SEPARATORS) + filled_in(rng, rng.choice(sentences), language)
    return text
