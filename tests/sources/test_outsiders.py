"""Tables beside the dataset's, as the catalogs tell."""

from __future__ import annotations

from convault.catalog import open_catalog
from tests.sources.reading import TABLES, run, source


def test_tables_beside_the_dataset_are_named(database: str) -> None:
    run(database, TABLES + """
        CREATE SCHEMA crm; CREATE SCHEMA elsewhere;
        CREATE TABLE crm.notes (conversation_id bigint REFERENCES conversations);
        CREATE TABLE crm.tags (name text);
        CREATE TABLE elsewhere.unrelated (id int);
        CREATE TABLE message_attachments (id int, message_id bigint, path text);
        CREATE TABLE "Log; x" (day date, gone int) PARTITION BY RANGE (day);
        CREATE TABLE log_1 PARTITION OF "Log; x" DEFAULT;
        ALTER TABLE "Log; x" DROP COLUMN gone;
        CREATE TABLE backups (conversation_id int);
        CREATE VIEW seen AS SELECT 1 AS message_id;
    """)  # fmt: skip
    with source(database).snapshot() as snapshot:
        assert [str(name) for name in snapshot.not_included] == [
            "crm.tags", "public.Log; x", "public.backups", "public.message_attachments",
        ]  # fmt: skip
        assert [warning.split(" ")[0] for warning in snapshot.warnings] == [
            "public.backups", "public.message_attachments",
        ]  # fmt: skip


def test_what_is_included_is_not_named(database: str) -> None:
    run(database, TABLES + """
        CREATE TABLE message_attachments (id int, message_id bigint REFERENCES messages);
    """)  # fmt: skip
    with source(database).snapshot() as snapshot:
        assert snapshot.not_included == snapshot.warnings == ()


def test_tables_of_extensions_and_convaults_own_are_not_named(database: str) -> None:
    run(database, TABLES + """
        CREATE TABLE spatial_ref_sys (message_id int);
        ALTER EXTENSION plpgsql ADD TABLE spatial_ref_sys;
    """)  # fmt: skip
    open_catalog(database).migrate()
    with source(database).snapshot() as snapshot:
        assert snapshot.not_included == snapshot.warnings == ()
