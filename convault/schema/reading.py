"""All statements of a dataset's schema, in the order in which they must run."""

from __future__ import annotations

from typing import Any

import psycopg

from convault.models import Dataset, Statement
from convault.schema.catalogs import Catalogs, catalogs
from convault.schema.collations import collation_statements
from convault.schema.comments import comment_statements
from convault.schema.constraints import (
    check_statements,
    foreign_key_statements,
    key_statements,
    read_checks,
)
from convault.schema.functions import function_statements
from convault.schema.graph import Graph, Key
from convault.schema.indexes import index_statements
from convault.schema.namespaces import extension_statements, schema_statements
from convault.schema.ordering import in_order, set_apart
from convault.schema.policies import policy_statements
from convault.schema.privileges import privilege_statements
from convault.schema.reach import read_graph
from convault.schema.sequences import sequence_statements
from convault.schema.statistics import statistics_statements
from convault.schema.tables import inherited_defaults, read_tables, table_statements
from convault.schema.text_search import text_search_statements
from convault.schema.triggers import trigger_statements
from convault.schema.types import (
    domain_check_statements,
    late_domain_checks,
    read_domain_checks,
    type_statements,
)
from convault.secrets import without_secrets


def read_statements(connection: psycopg.Connection[Any], dataset: Dataset) -> tuple[Statement, ...]:
    """The statements that make the dataset's tables, and all that they need, in an empty database.

    Read through `connection` in its transaction, so in the backup's snapshot; no setting and no
    lock of it stays. They are to be run under `RESTORE_SETTINGS`, those with `after_data` once the
    rows are loaded. What lies outside the dataset and cannot be made is named in `needs`.

    A secret in them is replaced (`convault.secrets`). Not here: views, rules, publications, owners.

    Raises UnsupportedSource for what no statement can reproduce (an operator or a base type without
    its extension, a table without its parent), rather than leaving it out; MissingPrivilege for a
    sequence whose position may not be read; other SourceErrors as the server answers.
    """
    with catalogs(connection) as found:
        graph = read_graph(found, dataset)
        return tuple(without_secrets(statement) for statement in _read(found, graph, dataset))


def _read(found: Catalogs, graph: Graph, dataset: Dataset) -> list[Statement]:
    checks = read_checks(found, dataset)
    domain_checks = read_domain_checks(found, graph)
    apart = set_apart(graph) | {Key("pg_constraint", check.oid) for check in checks}
    apart |= late_domain_checks(graph, domain_checks)
    tables = read_tables(found, graph, dataset)
    apart |= inherited_defaults(tables)

    own_domain_checks = domain_check_statements(graph, domain_checks, apart)
    sequences = sequence_statements(found, graph)
    made_tables = table_statements(graph, tables, apart)
    made: dict[Key, list[Statement]] = {}
    for kind in (
        schema_statements(graph),
        extension_statements(found, graph),
        collation_statements(found, graph),
        text_search_statements(found, graph),
        type_statements(found, graph, domain_checks, apart),
        function_statements(found, graph),
        {key: made for key, made in own_domain_checks.items() if not made[0].after_data},
        sequences.free,
        made_tables.made,
        sequences.identities,
    ):
        made |= kind
    before, not_made = in_order(graph, made, apart)

    keys = key_statements(found, graph, dataset)
    indexes, index_changes, left_out = index_statements(found, graph, dataset)
    foreign_keys = foreign_key_statements(found, graph, dataset)
    return [
        *before,
        *sequences.owned,
        *made_tables.joined,
        *keys.values(),
        *indexes.values(),
        *index_changes,
        *(made[0] for made in own_domain_checks.values() if made[0].after_data),
        *check_statements(graph, checks).values(),
        *made_tables.not_null,
        *foreign_keys.values(),
        *sequences.values,
        *statistics_statements(found, graph),
        *trigger_statements(found, graph, not_made),
        *policy_statements(found, graph, not_made),
        *comment_statements(found, graph, left_out | not_made, foreign_keys),
        *made_tables.forced,
        *privilege_statements(found, graph, made.keys() - not_made),
    ]
