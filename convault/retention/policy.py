"""What is to be kept, as an operator says it; what says nothing, or two things, is refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel

from convault.errors import PolicyError
from convault.retention.spans import Span, SpanText
from convault.validation import reasons

_BUCKETS = ("keep_hourly", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly")
_GOOD = ("keep_last", *_BUCKETS, "keep_within")
"""rules that choose among the good backups of a group"""
Count = Annotated[int, Field(ge=1, le=100_000)]
Removable = Literal["completed", "failed"]


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


class Policy(BaseModel):
    """Rules of a clean-up. JSON is camelCase; Python and input also take snake_case.

    A good backup that no rule keeps goes. Counts are per group (`retention.groups`); of an hour,
    a day, a week (from Monday), a month or a year in the operator's zone the newest one counts.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True
    )

    keep_last: Count | None = None
    keep_hourly: Count | None = None
    keep_daily: Count | None = None
    keep_weekly: Count | None = None
    keep_monthly: Count | None = None
    keep_yearly: Count | None = None
    keep_within: SpanText | None = None
    """everything that is younger stays"""
    keep_at_most: SpanText | None = None
    """nothing that is older stays, whichever rule would keep it: what a law may demand"""
    minimum_good: Count = 1
    """good ones that stay in each group, whatever the rules say"""
    older_than: SpanText | None = None
    """only what is older goes"""
    status: Annotated[tuple[Removable, ...], BeforeValidator(_listed)] | None = None
    """only what has one of these goes"""
    keep_count: Count | None = None
    """the newest of each group and status stay"""

    @property
    def good_rules(self) -> dict[str, int | str]:
        """The rules that choose among good backups."""
        return {name: value for name in _GOOD if (value := getattr(self, name)) is not None}

    @property
    def buckets(self) -> dict[str, int]:
        """How many hours, days, ... to keep one of."""
        return {name: value for name in _BUCKETS if (value := getattr(self, name)) is not None}

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        original = (self.older_than, self.status, self.keep_count)
        if not self.good_rules and self.keep_at_most is None and original == (None, None, None):
            raise ValueError("it says nothing of what stays or goes: give at least one rule")
        if self.status == ():
            raise ValueError("status is an empty list: name completed, failed or both")
        alone = not self.good_rules and not any((self.keep_at_most, self.older_than))
        if alone and self.keep_count is None and self.status != ("failed",):
            raise ValueError("a status alone would let every completed backup go: add a rule")
        return self

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if self.status == ("failed",) and (self.good_rules or self.keep_at_most):
            raise ValueError("only failed ones go, and these rules are about completed ones")
        if self.keep_at_most is not None:
            most = Span.parse(self.keep_at_most).days
            for name in ("keep_within", "older_than"):
                text = getattr(self, name)
                if text is not None and Span.parse(text).days > most:
                    raise ValueError(
                        f"{to_camel(name)} {text} keeps what keepAtMost {self.keep_at_most} does "
                        "not allow"
                    )
        return self

    @classmethod
    def parse(cls, values: object) -> Policy:
        """Read rules from JSON-like `values`; PolicyError says what is wrong."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise PolicyError(
                f"This policy cannot be used, and nothing was removed: {reasons(error)}. See "
                "`convault cleanup --help`."
            ) from None

    def to_json(self) -> dict[str, object]:
        """The rules that are given, with the names that the API and Prefect use."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
