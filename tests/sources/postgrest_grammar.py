"""How PostgREST reads the parameters of a request: its grammar (src/PostgREST/ApiRequest/
QueryParams.hs of v10 to v13), rule by rule, as far as requests of ours need it. `@supabase/lite`
reads names in quotes, and some values, otherwise; PostgREST is what hosted projects have."""

from __future__ import annotations

import unicodedata
from typing import Any


class Parser:
    """At a place in a text. Each method is the rule of that name; ValueError where it fails."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    @property
    def next(self) -> str:
        return self.text[self.at : self.at + 1]

    def take(self, text: str) -> None:
        if not self.text.startswith(text, self.at):
            raise ValueError(f"{text!r} expected at {self.at} of {self.text!r}")
        self.at += len(text)

    def tried(self, rule: Any, *more: Any) -> Any:
        """`try`: None, with nothing taken, where it fails."""
        before = self.at
        try:
            return rule(*more)
        except ValueError:
            self.at = before
            return None

    def many(self, stops: str) -> str:
        found = ""
        while self.next and self.next not in stops:
            found += self.next
            self.at += 1
        return found

    def whitespace(self) -> None:
        while self.next in (" ", "\t"):
            self.at += 1

    def quoted(self) -> str:
        self.take('"')
        found = ""
        while self.next != '"':
            self.at += self.next == "\\"
            if not self.next:
                raise ValueError("no closing quote")
            found += self.next
            self.at += 1
        self.take('"')
        return found

    def identifier(self) -> str:
        found = ""
        while self.next and (
            unicodedata.category(self.next)[0] == "L" or self.next in "0123456789_ $"
        ):
            found += self.next
            self.at += 1
        if not found:
            raise ValueError("a name expected")
        return found.strip()

    def field_name(self) -> str:
        return self.quoted() if self.next == '"' else self.identifier()

    def field(self) -> str:
        self.whitespace()
        name = self.field_name()
        self.whitespace()
        return name

    def closed(self) -> str:
        value = self.quoted()
        if self.next not in ("", ",", ")"):
            raise ValueError("something behind a value in quotes")
        return value

    def value(self) -> str:
        found = self.tried(self.closed)
        return self.many(",)") if found is None else str(found)

    def filter(self) -> Any:
        name = self.field()
        self.take(".")
        operator = self.many(".")
        self.take(".")
        if operator == "in":
            self.take("(")
            values = [self.value()]
            while self.next == ",":
                self.take(",")
                values.append(self.value())
            self.take(")")
            # `in.("")` asks for nothing.
            return (name, "in", [] if values == [""] else values)
        if operator not in ("eq", "gt", "gte", "lt", "is"):
            raise ValueError(f"no operator {operator!r}")
        return (name, operator, self.value())

    def logic(self) -> Any:
        found = self.tried(self.filter)
        if found is not None:
            return found
        operator = "and" if self.text.startswith("and", self.at) else "or"
        self.take(operator)
        return (operator, self.trees())

    def trees(self) -> list[Any]:
        self.take("(")
        found = [self.logic()]
        while self.next == ",":
            self.take(",")
            found.append(self.logic())
        self.take(")")
        return found

    def selected(self) -> list[Any]:
        """Of `select`: alias, name and cast, or alias, name, hint and what is embedded."""
        found = []
        while True:
            self.whitespace()
            alias = self.field_name()
            self.take(":")
            name = self.field_name()
            if self.next == "!":
                self.take("!")
                for join in ("left", "inner"):
                    if self.text.startswith(join, self.at):
                        raise ValueError("that would be a kind of join")
                hint = self.field_name()
                self.take("(")
                found.append((alias, name, hint, self.selected()))
                self.take(")")
            else:
                cast = None
                if self.next == ":":
                    self.take("::")
                    cast = self.identifier()
                found.append((alias, name, cast))
            if self.next != ",":
                return found
            self.take(",")

    def ordered(self) -> list[str]:
        found = []
        while True:
            found.append(self.field())
            self.take(".asc")
            if self.next != ",":
                return found
            self.take(",")


def read(text: str, rule: str) -> Any:
    """The whole text by a rule."""
    parser = Parser(text)
    found = getattr(parser, rule)()
    if parser.next:
        raise ValueError(f"{text[parser.at :]!r} is left of {text!r}")
    return found
