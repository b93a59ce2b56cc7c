"""Which columns the filters of a backup look at, wherever its rows come from. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from convault.dataset.descent import participant_columns
from convault.dataset.filters import Filters
from convault.errors import OptionsError
from convault.models import Dataset, ForeignKey, Table, TableName


class Wanted(NamedTuple):
    """A column that must hold one of some values."""

    option: str
    column: str
    values: Sequence[str]


def key_column(root: Table) -> str:
    """That ids of conversations stand in. OptionsError when it is no one column."""
    key = root.primary_key
    if len(key) == 1:
        return key[0]
    what = f"has {len(key)} columns" if key else "is missing"
    raise OptionsError(
        f"conversationIds cannot be used: the primary key of {root.name} {what}, and an "
        "id is one value. Use startDate, endDate or another filter."
    )


def of_root(dataset: Dataset, root: Table, filters: Filters) -> Iterator[Wanted]:
    """The filters that compare a column of the root with values, but for participants.
    OptionsError as `require_column` and `key_column`."""
    if filters.conversation_ids:
        yield Wanted("conversationIds", key_column(root), filters.conversation_ids)
    for option, column, values, setting in (
        ("status", filters.status_column, filters.status, "CONVAULT_STATUS_COLUMN"),
        ("channelIds", filters.channel_column, filters.channel_ids, "CONVAULT_CHANNEL_COLUMN"),
    ):
        if values:
            require_column(dataset, option, root, column, setting)
            yield Wanted(option, column, values)


def period_column(dataset: Dataset, root: Table, filters: Filters) -> tuple[str, str] | None:
    """The option to be named in an error, and the column of the creation; None when no period is
    asked for. OptionsError as `require_column`."""
    period, column = filters.period, filters.created_column
    if period.start is None and period.end is None:
        return None
    option = "startDate" if period.start is not None else "endDate"
    require_column(dataset, option, root, column, "CONVAULT_CREATED_COLUMN")
    return option, column


def no_time(
    option: str, root: Table, column: str, type_: str, times: Sequence[str]
) -> OptionsError:
    """For a column of the creation that is none; `times` are those that could be."""
    return OptionsError(
        f"{option} cannot be used: {column} of {root.name} is of type {type_}, "
        "and a time is needed (timestamptz, or timestamp, which is read as UTC). Set "
        f"CONVAULT_CREATED_COLUMN to {_or(times)}."
    )


def no_value(option: str, number: int, of: int, type_: str) -> OptionsError:
    """For a value, the one of that number, that the column's type does not take. It is not
    repeated."""
    which = f"value {number} of {of}" if of > 1 else "the value"
    return OptionsError(
        f"These options cannot be used: {option}: {which} is no {type_}, as the column "
        "holds that it is compared with."
    )


def not_comparable(type_: str) -> OptionsError:
    """For a type without an equality."""
    return OptionsError(
        f"Values of type {type_} cannot be compared, so nothing can be selected by "
        "them. Use another filter."
    )


def participants(
    dataset: Dataset, root: Table, filters: Filters
) -> tuple[TableName, str, tuple[ForeignKey, ...]]:
    """The column that holds participants, and the keys that lead from its table to the root; none
    where it is the root itself. OptionsError when it is not clear which it is."""
    table, column = filters.participants or _found(dataset)
    links = () if table == root.name else _links(dataset, table)
    require_column(
        dataset, "participantIds", dataset.table(table), column, "CONVAULT_PARTICIPANTS_COLUMN"
    )
    return table, column, links


def require_column(dataset: Dataset, option: str, table: Table, column: str, setting: str) -> None:
    """OptionsError unless the table has the column, and the backup may tell its values."""
    names = [c.name for c in table.columns]
    hidden = [c.name for c in table.columns if c.mask] + [
        a.column for a in dataset.absent if a.table == table.name and a.column
    ]
    if column in hidden:
        how = "masked" if column in names else "excluded"
        raise OptionsError(
            f"{option} cannot be used: {table.name}.{column} is {how}, and which rows the "
            f"backup holds would tell its values. Use another filter, or leave {column} as it "
            "is."
        )
    if column not in names:
        raise OptionsError(
            f"{option} cannot be used: {table.name} has no column {column}. Set {setting} to "
            f"one of its columns: {', '.join(names) or 'it has none'}."
        )


def _found(dataset: Dataset) -> tuple[TableName, str]:
    found = participant_columns(dataset)
    if len(found) == 1:
        return found[0]
    named = [f"{table}.{column}" for table, column in found]
    if not named:
        named = [
            f"{key.table}.{column.name}"
            for key in dataset.foreign_keys
            if key.references == dataset.root and key.table != dataset.root
            for column in dataset.table(key.table).columns
            if column.name not in key.columns and column.name.lower().endswith("_id")
        ]
    why = "several columns may hold them" if found else "no table is named for them"
    raise OptionsError(
        f"participantIds cannot be used: it is not clear where participants are, as {why}. Set "
        f"CONVAULT_PARTICIPANTS_COLUMN to {_or(named)}."
    )


def _links(dataset: Dataset, table: TableName) -> tuple[ForeignKey, ...]:
    links = tuple(
        key for key in dataset.foreign_keys if key.table == table and key.references == dataset.root
    )
    if not links:
        raise OptionsError(
            f"participantIds cannot be used: CONVAULT_PARTICIPANTS_COLUMN names {table}, and "
            f"no foreign key leads from it to {dataset.root}. Declare it in "
            "CONVAULT_RELATIONS, or name another table."
        )
    return links


def _or(names: Sequence[str]) -> str:
    return " or ".join(names) or "a column that holds them"
