"""What a restore is asked for. Names and values only: never a URL, so that Prefect may keep it."""

from __future__ import annotations

import json
from enum import StrEnum

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from convault.errors import OptionsError
from convault.files.addresses import is_bucket
from convault.models import MAX_OPTIONS_BYTES
from convault.validation import reasons


class Mode(StrEnum):
    """What becomes of rows of live tables that have the primary key of a row of the backup."""

    FAIL = "fail"
    """stop before anything is written if there is one"""
    SKIP = "skip"
    """they stay as they are"""
    OVERWRITE = "overwrite"
    """they become what they were"""
    REPLACE = "replace"
    """the tables' rows become exactly the backup's: rows that it does not hold go"""


class MissingUsers(StrEnum):
    """What becomes of rows whose foreign key into a managed schema (`auth.users`) finds no row."""

    STOP = "stop"
    """nothing is restored, and they are counted"""
    NULL = "null"
    """the reference becomes NULL"""
    SKIP = "skip"
    """they, and what references them, are left out"""
    STUB = "stub"
    """a row with nothing but its key is made there"""


class RestoreOptions(BaseModel):
    """What to restore, and how. JSON is camelCase; Python and input also take snake_case."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True
    )

    tables: tuple[str, ...] = ()
    """`table` or `schema.table`; none: all. What they reference comes along"""
    conversations: tuple[str, ...] = ()
    """primary keys of the root table; none: all"""
    since: AwareDatetime | None = None
    """conversations created at or after it"""
    until: AwareDatetime | None = None
    """conversations created before it"""
    created_column: str | None = None
    """of the root table, for `since` and `until`"""
    into_schema: str | None = Field(default=None, min_length=1, max_length=63)
    """a schema that does not exist yet: everything is made in it instead of where it was"""
    owner: str | None = Field(default=None, min_length=1, max_length=63)
    """the role that is to own what is made; None: whoever restores, and for a superuser the owner
    of the database, or a plain role that is made for that"""
    mode: Mode = Mode.FAIL
    missing_users: MissingUsers | None = None
    """None: stop, but with `tolerate_constraints` leave the rows as they are and tell"""
    tolerate_constraints: bool = False
    """restore the rows whatever indexes, constraints and generated columns say, and tell"""
    data_only: bool = False
    """make tables, types and keys, but run no code of the backup: no functions, triggers,
    policies, checks, defaults"""
    files: bool = False
    """put the backup's Storage files back, before the rows; of a selection of rows those that they
    point at, when all of them are loaded and none is seen yet"""
    files_bucket: str | None = Field(default=None, min_length=1, max_length=100)
    """a bucket for all of them, instead of those they were in"""
    dry_run: bool = False
    """tell what would be done, and leave the target as it is"""

    @property
    def selects(self) -> bool:
        """Whether some rows are asked for, rather than all."""
        return bool(self.tables or self.conversations or self.since or self.until)

    @property
    def by_conversation(self) -> bool:
        """Whether rows are chosen by the conversation they belong to."""
        return bool(self.conversations or self.since or self.until)

    @classmethod
    def parse(cls, values: object) -> RestoreOptions:
        """Read options from JSON-like `values`. OptionsError names each field that is wrong, and
        what does not go together."""
        try:
            options = cls.model_validate(values)
        except ValidationError as error:
            raise OptionsError(
                f"These options cannot be used: {reasons(error, 'options')}. See `convault "
                "restore --help`."
            ) from None
        options.check()
        return options

    def check(self) -> None:
        """OptionsError for what does not go together, or is too much."""
        size = len(json.dumps(self.model_dump(mode="json", by_alias=True)))
        if size > MAX_OPTIONS_BYTES:
            raise OptionsError(
                f"These options take {size} bytes, and {MAX_OPTIONS_BYTES} is the most (some 12,000"
                " ids): restore in several runs."
            )
        if self.mode is Mode.REPLACE and self.selects:
            raise OptionsError(
                "`replace` makes the tables' rows exactly the backup's, so it cannot go with "
                "--table, --conversation, --since or --until: rows outside the selection would be "
                "removed. Use --mode overwrite for some of the rows."
            )
        if self.into_schema is not None and self.mode is not Mode.FAIL:
            raise OptionsError(
                "--schema makes new tables, in which nothing can be in the way: leave --mode out."
            )
        if self.files_bucket is not None and not self.files:
            raise OptionsError("--files-bucket says where --files puts files: give that as well.")
        if self.files_bucket is not None and not is_bucket(self.files_bucket):
            raise OptionsError("What follows --files-bucket is not the name of a bucket.")
        if self.since and self.until and self.since >= self.until:
            raise OptionsError("--since must be before --until: no conversation is between them.")
