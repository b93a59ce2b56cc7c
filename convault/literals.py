"""Texts within SQL: string literals as they are meant, comments, and the bodies of functions.

Each character of such a text knows which characters of the SQL wrote it, so that what is found in
a text can be replaced in the SQL. Pure, and forgiving: a body may be in any language, and what
looks like a literal there is taken for one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

_DEPTH = 4
"""how deep literals within literals are looked for: SQL that a function puts together and runs"""


@dataclass(frozen=True, slots=True)
class Text:
    """Characters, and for each of them where in the SQL it starts and ends."""

    text: str
    starts: Sequence[int]
    ends: Sequence[int]
    code: bool = False
    """it is the source of a function: not every word in it is a value"""
    torn: Mapping[int, Sequence[tuple[int, int]]] = field(default_factory=dict)
    """the places of characters that are written in several, by the start of the first: an escape
    within SQL that is itself put together"""

    def part(self, start: int, end: int) -> Text:
        """The characters from `start` to before `end`."""
        return Text(
            self.text[start:end], self.starts[start:end], self.ends[start:end], torn=self.torn
        )

    def spans(self, start: int, end: int) -> list[tuple[int, int]]:
        """The places in the SQL of the characters from `start` to before `end`: several, where
        literals are concatenated."""
        found: list[tuple[int, int]] = []
        for begins, ends in zip(self.starts[start:end], self.ends[start:end], strict=True):
            for place in self.torn.get(begins, ((begins, ends),)):
                if found and found[-1][1] == place[0]:
                    found[-1] = (found[-1][0], place[1])
                else:
                    found.append(place)
        return found


_LONGEST = 200
"""characters between two literals that are concatenated"""

_TOKEN = re.compile(
    r"""
      (?P<comment> --[^\n]* | /\*.*?\*/ )
    | (?P<name> "(?:[^"]|"")*" )
    | [eE](?P<escaped> '(?:[^'\\]|\\.|'')*' )
    | [uU]&(?P<unicode> '(?:[^']|'')*' )
    | (?P<plain> '(?:[^']|'')*' )
    | (?P<dollars> \$(?:[^\W\d]\w*)?\$ )
    | [^\W\d][\w$]*
    """,
    re.VERBOSE | re.DOTALL,
)
"""What may hold a text; words too, as a quote or a dollar within one starts nothing."""

_MAY_HOLD_MORE = re.compile(r"['\"$]|--|/\*")

_CAST = r"::\s*[\w.\"]+(?:\s+(?:varying|precision|with(?:out)? time zone))?(?:\(\d+\))?(?:\[\])*"
_BETWEEN_PARTS = re.compile(
    rf"(?:\s|\)|{_CAST})*(?P<by>\|\||\+|,)(?P<called>(?:\s|\(|concat\s*\()*)|\s*\n\s*",
    re.IGNORECASE,
)
_SOURCE_OF_FUNCTION = re.compile(r"\b(?:AS|DO)\s+$", re.IGNORECASE)
_CONCAT = re.compile(r"\bconcat\s*\([\s(]*$", re.IGNORECASE)
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)

_ESCAPES = {
    "plain": re.compile(r"''"),
    "escaped": re.compile(
        r"''|\\(?:x[0-9A-Fa-f]{1,2}|[0-7]{1,3}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|.)", re.DOTALL
    ),
    "unicode": re.compile(r"''|\\(?:[0-9A-Fa-f]{4}|\+[0-9A-Fa-f]{6}|\\)"),
}
_CONTROLS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def texts(sql: str) -> Iterator[Text]:
    """Every text of the statement, and the texts within these. Literals that are concatenated
    (by `||`, by standing on two lines, as arguments of `concat`) are one text."""
    everything = Text(sql, range(len(sql)), range(1, len(sql) + 1))
    yield from _within(everything, depth=0)


def _within(source: Text, depth: int) -> Iterator[Text]:
    chain: list[Text] = []
    arguments = False
    ended = position = 0
    while token := _TOKEN.search(source.text, position):
        position = token.end()
        kind = token.lastgroup
        if kind == "comment":
            yield source.part(*token.span())
        elif kind == "name" and depth > 0:
            # No name in JavaScript or Python, and none that looks like a secret in SQL.
            yield source.part(token.start() + 1, token.end() - 1)
        elif kind in _ESCAPES or kind == "dollars":
            literal, position = _literal(source, token)
            if _SOURCE_OF_FUNCTION.search(source.text[max(0, token.start() - 9) : token.start()]):
                literal = replace(literal, code=True)
            joined = _joined(source.text[ended : token.start()], arguments)
            if chain and joined is None:
                yield from _with_more(_together(chain), depth)
                chain = []
            if not chain:
                called = source.text[max(0, token.start() - 50) : token.start()]
                arguments = _CONCAT.search(called) is not None
            arguments = arguments or bool(joined)
            chain.append(literal)
            ended = position
    if chain:
        yield from _with_more(_together(chain), depth)


def _with_more(text: Text, depth: int) -> Iterator[Text]:
    yield text
    if depth < _DEPTH and _MAY_HOLD_MORE.search(text.text):
        yield from _within(text, depth + 1)


def _literal(source: Text, token: re.Match[str]) -> tuple[Text, int]:
    """The literal that the token is, or begins, and where it is over."""
    kind = str(token.lastgroup)
    if kind == "dollars":
        end = source.text.find(token["dollars"], token.end())
        end = len(source.text) if end < 0 else end
        return source.part(token.end(), end), end + len(token["dollars"])
    start, end = token.start(kind) + 1, token.end() - 1
    raw = source.part(start, end)
    escapes = list(_ESCAPES[kind].finditer(raw.text))
    if not escapes:
        return raw, token.end()
    characters: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    torn = dict(raw.torn)
    at = 0
    for escape in escapes:
        characters.append(raw.text[at : escape.start()] + _meant(escape[0]))
        places = raw.spans(*escape.span())
        starts += [*raw.starts[at : escape.start()], places[0][0]]
        ends += [*raw.ends[at : escape.start()], places[0][1]]
        torn.pop(places[0][0], None)
        if len(places) > 1:
            torn[places[0][0]] = places
        at = escape.end()
    characters.append(raw.text[at:])
    text = Text(
        "".join(characters), [*starts, *raw.starts[at:]], [*ends, *raw.ends[at:]], torn=torn
    )
    return text, token.end()


def _meant(escape: str) -> str:
    """One character."""
    if escape == "''":
        return "'"
    digits = escape[1:].lstrip("xuU+")
    if escape[1] in "xuU+" and digits:
        return _character(int(digits, 16))
    if len(escape) == 5:
        return _character(int(escape[1:], 16))  # U&'\0065'
    if escape[1] in "01234567":
        return _character(int(escape[1:], 8))
    return _CONTROLS.get(escape[1], escape[1])


def _character(number: int) -> str:
    return chr(number) if number <= 0x10FFFF else "\N{REPLACEMENT CHARACTER}"


def _joined(between: str, arguments: bool) -> bool | None:
    """None when the literal after `between` does not go on with the value of the one before it;
    else whether `concat` is called there. With `arguments` it was called before."""
    between = _COMMENT.sub(lambda c: "\n" if c[0].startswith("--") else " ", between)
    found = _BETWEEN_PARTS.fullmatch(between) if len(between) <= _LONGEST else None
    if found is None or (found["by"] == "," and not arguments):
        return None
    return "concat" in (found["called"] or "").lower()


def _together(chain: Sequence[Text]) -> Text:
    if len(chain) == 1:
        return chain[0]
    return Text(
        "".join(part.text for part in chain),
        [start for part in chain for start in part.starts],
        [end for part in chain for end in part.ends],
        code=any(part.code for part in chain),
        torn={start: places for part in chain for start, places in part.torn.items()},
    )
