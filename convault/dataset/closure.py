"""Which tables a backup holds, out of those that are there, and what ties them together. Pure."""

from __future__ import annotations

from convault.dataset import exclusion
from convault.dataset.patterns import matching
from convault.dataset.scope import Scope
from convault.dataset.tables import (
    Relation,
    close_over,
    close_over_named,
    only_below,
    require_messages,
)
from convault.errors import OptionsError
from convault.models import Absence, ForeignKey, TableName


def closure_of(
    scope: Scope, relations: list[Relation], keys: list[ForeignKey]
) -> tuple[tuple[TableName, ...], tuple[Absence, ...]]:
    """The names of the dataset's tables, and what was left out as asked. MissingTable,
    OptionsError, and what `convault.dataset.exclusion` refuses."""
    closure, absent = _wanted(scope, relations, keys)
    with_messages = scope.include_messages and not scope.tables
    if with_messages:
        require_messages(scope.messages, scope.root, closure, [r.name for r in relations])
    if not scope.exclude_tables:
        return closure, absent
    kept, more = exclusion.leave_out(
        scope.exclude_tables,
        relations,
        lambda found: _wanted(scope, list(found), keys)[0],
        root=None if scope.tables else scope.root,
        messages=scope.messages if with_messages else None,
    )
    return kept, (*absent, *more)


def _wanted(
    scope: Scope, relations: list[Relation], keys: list[ForeignKey]
) -> tuple[tuple[TableName, ...], tuple[Absence, ...]]:
    """The same, as if all that is there were wanted but what `include_messages` leaves out."""
    if scope.tables:
        return close_over_named(matching(scope.tables, relations), relations, keys), ()
    if scope.include_messages:
        return close_over(scope.root, relations, keys), ()
    if scope.messages == scope.root:
        raise OptionsError(
            f"includeMessages: {scope.root} is both the root and the table of messages, so nothing "
            "would be left. Set CONVAULT_MESSAGES_TABLE to the table of messages."
        )
    without = only_below([scope.messages], scope.root, relations, keys)
    partitions = {relation.name for relation in relations if relation.is_partition}
    absent = tuple(
        Absence(name, None, "excluded" if name == scope.messages else "unreachable")
        for name in close_over(scope.root, relations, keys)
        if name in without and name not in partitions
    )
    return close_over(scope.root, relations, keys, excluded=without), absent
