"""Restores into tables that live: every mode, and that nothing there fires, moves or is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from convault.dataset.scope import Scope
from convault.embedded.server import EmbeddedPostgres
from convault.errors import NotFoundError, RestoreError
from convault.manifest import Manifest
from convault.models import TableName
from convault.repository import Repository
from convault.restore import Changes, RestoreOptions, RestoreResult, restore
from convault.restore.undo import undo
from tests.restore.builder import back_up
from tests.restore.plain_owner import as_role, owned_database
from tests.restore.test_selection import rows

SCHEMA = """
CREATE TYPE public.mood AS ENUM ('sad', 'glad');
CREATE TABLE public.channels (id integer PRIMARY KEY, name text UNIQUE);
CREATE TABLE public.conversations (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, number bigint,
    channel_id integer NOT NULL REFERENCES public.channels,
    last_message bigint, subject text, mood public.mood);
CREATE TABLE public.messages (
    id bigserial PRIMARY KEY,
    conversation_id bigint NOT NULL REFERENCES public.conversations ON DELETE CASCADE,
    reply_to bigint REFERENCES public.messages, body text, meta json,
    size integer GENERATED ALWAYS AS (length(body)) STORED);
ALTER TABLE public.conversations ADD FOREIGN KEY (last_message) REFERENCES public.messages;
CREATE TABLE public.events (
    message_id bigint REFERENCES public.messages ON DELETE CASCADE, at date, kind text,
    PRIMARY KEY (message_id, at)) PARTITION BY RANGE (at);
CREATE TABLE public.events_old PARTITION OF public.events
    FOR VALUES FROM (MINVALUE) TO ('2024-01-01');
CREATE TABLE public.events_new PARTITION OF public.events
    FOR VALUES FROM ('2024-01-01') TO (MAXVALUE);
CREATE TABLE public.tags (conversation_id bigint REFERENCES public.conversations, tag text);
"""
ROWS = """
INSERT INTO public.channels VALUES (1, 'e-mail'), (2, 'chat');
INSERT INTO public.conversations (channel_id, subject, mood)
    SELECT 1 + n % 2, 'subject ' || n, 'glad' FROM generate_series(1, 10) n;
INSERT INTO public.messages (conversation_id, reply_to, body, meta)
    SELECT 1 + n % 10, CASE WHEN n > 10 THEN n - 10 END, 'body ' || n, '{"b": 1,  "a": 2}'
    FROM generate_series(1, 100) n;
UPDATE public.conversations c SET last_message = (SELECT max(id) FROM public.messages
    WHERE conversation_id = c.id);
INSERT INTO public.events SELECT id, '2023-12-01'::date + id::int, 'sent' FROM public.messages;
INSERT INTO public.tags VALUES (1, 'a'), (1, 'a'), (2, 'b'), (NULL, NULL);
"""
GUARDED = """
CREATE TABLE public.outbox (what text);
CREATE FUNCTION public.send() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN INSERT INTO public.outbox VALUES (TG_NAME || ' ' || TG_OP || ' ' || TG_TABLE_NAME);
    RETURN NULL; END $$;
CREATE TRIGGER webhook AFTER INSERT OR UPDATE OR DELETE ON public.messages FOR EACH ROW
    EXECUTE FUNCTION public.send();
CREATE TRIGGER always AFTER INSERT OR UPDATE OR DELETE ON public.messages FOR EACH ROW
    EXECUTE FUNCTION public.send();
ALTER TABLE public.messages ENABLE ALWAYS TRIGGER always;
CREATE TRIGGER replica AFTER INSERT OR UPDATE OR DELETE ON public.messages FOR EACH STATEMENT
    EXECUTE FUNCTION public.send();
ALTER TABLE public.messages ENABLE REPLICA TRIGGER replica;
CREATE TRIGGER off AFTER INSERT ON public.messages FOR EACH ROW EXECUTE FUNCTION public.send();
ALTER TABLE public.messages DISABLE TRIGGER off;
CREATE CONSTRAINT TRIGGER late AFTER INSERT OR UPDATE OR DELETE ON public.conversations
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.send();
CREATE TRIGGER each_event AFTER INSERT OR UPDATE OR DELETE ON public.events FOR EACH ROW
    EXECUTE FUNCTION public.send();
ALTER TABLE public.events_new ENABLE ALWAYS TRIGGER each_event;
CREATE RULE told AS ON INSERT TO public.tags DO ALSO
    INSERT INTO public.outbox VALUES ('rule');
ALTER TABLE public.conversations ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY nobody ON public.conversations USING (false);
CREATE VIEW public.latest AS SELECT * FROM public.messages ORDER BY id DESC LIMIT 1;
ALTER TABLE public.messages ADD COLUMN extra text DEFAULT 'as ever';
"""
DAMAGE = """
SET row_security = off;
UPDATE public.conversations SET last_message = NULL WHERE id = 3;
DELETE FROM public.messages WHERE conversation_id = 3 AND id > 50;
UPDATE public.messages SET body = 'changed' WHERE id IN (1, 2);
UPDATE public.channels SET name = 'changed' WHERE id = 2;
INSERT INTO public.messages (id, conversation_id, body) VALUES (1000, 4, 'new');
INSERT INTO public.tags VALUES (1, 'a'), (5, 'new');
"""
STATE = {
    "triggers": "SELECT tgrelid::regclass::text, tgname, tgenabled::text FROM pg_trigger"
    " WHERE NOT tgisinternal ORDER BY 1, 2",
    "rules": "SELECT rulename, ev_enabled::text FROM pg_rewrite WHERE ev_type <> '1' ORDER BY 1",
    "keys": "SELECT oid, conname, condeferrable, condeferred, convalidated FROM pg_constraint"
    " WHERE connamespace = 'public'::regnamespace ORDER BY oid",
    "tables": "SELECT oid, relname, relrowsecurity, relforcerowsecurity, relacl::text FROM pg_class"
    " WHERE relnamespace = 'public'::regnamespace ORDER BY oid",
    "policies": "SELECT polname, polrelid FROM pg_policy",
    "identity": "SELECT attname, attidentity::text FROM pg_attribute WHERE attidentity <> ''",
}
TABLES = ("channels", "conversations", "messages", "events", "tags")
NewDatabase = Callable[[EmbeddedPostgres], str]


@pytest.fixture
def owned(any_cluster: EmbeddedPostgres) -> Iterator[str]:
    """A database of an owner who is no superuser, with the tables and rows."""
    with owned_database(any_cluster) as url:
        run(url, SCHEMA, ROWS)
        yield url


@pytest.fixture
def owned_18(cluster: EmbeddedPostgres) -> Iterator[str]:
    with owned_database(cluster) as url:
        run(url, SCHEMA, ROWS)
        yield url


def run(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for sql in statements:
            connection.execute(sql.encode())


def superuser(url: str) -> str:
    return url.replace(url.split("//")[1].split("@")[0] + "@", "postgres@", 1)


def content(url: str) -> dict[str, list[Any]]:
    """Every row, whoever may see it."""
    return {
        table: rows(superuser(url), f"SELECT t::text FROM public.{table} t ORDER BY 1")
        for table in TABLES
    }


def state(url: str) -> dict[str, list[Any]]:
    return {name: rows(superuser(url), query) for name, query in STATE.items()}


def into(
    repository: Repository, manifest: Manifest, url: str, *, yes: bool = False, **options: object
) -> RestoreResult:
    return restore(
        repository, manifest, url, RestoreOptions.parse(options), confirm=lambda question: yes
    )


def changes(result: RestoreResult) -> dict[str, Changes]:
    return {name.name: change for name, change in result.changes.items() if change != Changes()}


@pytest.fixture
def backed_up(owned: str, repository: Repository) -> Manifest:
    """Then triggers, rules and policies came, and rows changed."""
    manifest = back_up(repository, owned)
    run(owned, GUARDED)
    return manifest


def test_fail_stops_before_it_writes_when_any_row_is_there(
    owned: str, backed_up: Manifest, repository: Repository
) -> None:
    before = content(owned), state(owned)
    with pytest.raises(RestoreError, match=r"holds rows of the backup already: .*--mode skip"):
        into(repository, backed_up, owned)
    assert (content(owned), state(owned)) == before


def test_fail_fills_what_is_empty(owned: str, backed_up: Manifest, repository: Repository) -> None:
    before, as_it_was = content(owned), state(owned)
    run(superuser(owned), "TRUNCATE channels, conversations, messages, events, tags, outbox")
    result = into(repository, backed_up, owned)
    assert result.restore_id is None
    assert content(owned) == before
    assert state(owned) == as_it_was
    assert rows(owned, "SELECT * FROM outbox") == []
    # Sequences go on behind what came.
    assert rows(superuser(owned), "INSERT INTO messages (conversation_id) VALUES (1)"
                                  " RETURNING id > 100") == [(True,)]  # fmt: skip


def test_skip_adds_what_is_missing_and_touches_nothing_else(
    owned: str, backed_up: Manifest, repository: Repository
) -> None:
    run(superuser(owned), DAMAGE, "TRUNCATE outbox")
    as_it_was = state(owned)
    untouched = rows(superuser(owned), "SELECT id, body FROM messages WHERE id IN (1, 2, 1000)")
    result = into(repository, backed_up, owned, mode="skip")
    assert changes(result)["messages"] == Changes(inserted=5, skipped=95)
    assert changes(result)["tags"] == Changes(skipped=4)
    assert rows(superuser(owned), "SELECT count(*) FROM messages") == [(101,)]
    assert rows(superuser(owned), "SELECT count(*) FROM events") == [(100,)]
    assert (
        rows(superuser(owned), "SELECT id, body FROM messages WHERE id IN (1, 2, 1000)")
        == untouched
    )
    assert rows(owned, "SELECT * FROM outbox") == []
    assert state(owned) == as_it_was


def test_overwrite_puts_back_what_was_and_an_undo_takes_it_away_again(
    owned: str, backed_up: Manifest, repository: Repository
) -> None:
    original = content(owned)
    run(superuser(owned), DAMAGE, "TRUNCATE outbox")
    damaged, as_it_was = content(owned), state(owned)
    result = into(repository, backed_up, owned, mode="overwrite")
    assert changes(result)["messages"] == Changes(inserted=5, skipped=93, overwritten=2)
    assert changes(result)["channels"] == Changes(skipped=1, overwritten=1)
    # What the backup does not hold is still there.
    now = content(owned)
    assert now["channels"] == original["channels"]
    assert set(now["messages"]) > set(original["messages"])
    assert len(now["messages"]) == 101
    assert rows(owned, "SELECT * FROM outbox") == []
    assert state(owned) == as_it_was
    assert result.restore_id is not None
    put_back = undo(owned, result.restore_id)
    assert put_back[TableName("public", "messages")] == Changes(overwritten=2, removed=5)
    assert content(owned) == damaged
    assert state(owned) == as_it_was
    assert rows(owned, "SELECT * FROM outbox") == []
    with pytest.raises(NotFoundError, match="undone already"):
        undo(owned, result.restore_id)


def test_replace_asks_leaves_exactly_the_backups_rows_and_is_undone(
    owned: str, backed_up: Manifest, repository: Repository
) -> None:
    original = content(owned)
    run(superuser(owned), DAMAGE, "TRUNCATE outbox")
    damaged, as_it_was = content(owned), state(owned)
    with pytest.raises(RestoreError, match=r"3 live rows that are newer .*1 of public\.messages"):
        into(repository, backed_up, owned, mode="replace")
    assert (content(owned), state(owned)) == (damaged, as_it_was)
    result = into(repository, backed_up, owned, mode="replace", yes=True)
    assert changes(result)["messages"] == Changes(5, 93, 2, removed=1)
    assert changes(result)["tags"] == Changes(skipped=4, removed=2)
    assert content(owned) == original
    assert rows(owned, "SELECT * FROM outbox") == []
    assert state(owned) == as_it_was
    assert rows(superuser(owned), "SELECT body FROM latest") == [("body 100",)]
    assert result.restore_id is not None
    undo(owned, result.restore_id)
    assert content(owned) == damaged
    assert rows(owned, "SELECT * FROM outbox") == []


@pytest.mark.parametrize("mode", ["fail", "skip", "overwrite", "replace"])
def test_a_dry_run_tells_and_changes_nothing(
    owned_18: str, repository: Repository, mode: str
) -> None:
    manifest = back_up(repository, owned_18)
    run(owned_18, GUARDED)
    run(superuser(owned_18), DAMAGE, "TRUNCATE outbox")
    before = content(owned_18), state(owned_18)
    result = into(repository, manifest, owned_18, mode=mode, dryRun=True)
    assert result.dry_run
    assert (
        changes(result)["messages"]
        == {
            "fail": Changes(inserted=5, skipped=95),
            "skip": Changes(inserted=5, skipped=95),
            "overwrite": Changes(inserted=5, skipped=93, overwritten=2),
            "replace": Changes(inserted=5, skipped=93, overwritten=2, removed=1),
        }[mode]
    )
    assert (content(owned_18), state(owned_18)) == before
    assert rows(owned_18, "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'convault%'") == []


def test_a_conversation_that_was_deleted_comes_back_by_default(
    owned_18: str, repository: Repository
) -> None:
    """Its channel is there still: rows that only come along are no conflict."""
    manifest = back_up(repository, owned_18)
    original = content(owned_18)
    run(owned_18, GUARDED.replace("ADD COLUMN extra text DEFAULT 'as ever'", "ADD CHECK (true)"))
    run(
        superuser(owned_18),
        "UPDATE conversations SET last_message = NULL WHERE id = 3",
        "DELETE FROM conversations WHERE id = 3",
        "TRUNCATE outbox",
    )
    result = into(repository, manifest, owned_18, conversations=["3"])
    assert content(owned_18) == original
    assert changes(result)["conversations"] == Changes(inserted=1)
    assert changes(result)["messages"] == Changes(inserted=10)
    assert "channels" not in changes(result)
    assert rows(owned_18, "SELECT * FROM outbox") == []
    with pytest.raises(RestoreError, match="holds rows of the backup already"):
        into(repository, manifest, owned_18, conversations=["3"])


OUTSIDE = """
CREATE TABLE public.notes (id integer PRIMARY KEY, message_id bigint
    REFERENCES public.messages ON DELETE {action}, note text);
CREATE FUNCTION public.noted() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN INSERT INTO public.outbox VALUES ('note'); RETURN NULL; END $$;
CREATE TRIGGER noted AFTER UPDATE OR DELETE ON public.notes FOR EACH ROW
    EXECUTE FUNCTION public.noted();
INSERT INTO public.messages (id, conversation_id) VALUES (1000, 4);
INSERT INTO public.notes VALUES (1, 1000, 'outside'), (2, 7, 'stays');
TRUNCATE public.outbox;
"""


@pytest.mark.parametrize(
    ("action", "left", "asked"),
    [
        ("CASCADE", [(2, 7)], "1 rows of public.notes, which is not part of the backup, would be"
                              " removed with them"),
        ("SET NULL", [(1, None), (2, 7)], "would lose the reference"),
    ],
)  # fmt: skip
def test_outside_rows_that_would_be_orphaned_are_asked_about_and_come_back(
    owned_18: str, repository: Repository, action: str, left: list[Any], asked: str
) -> None:
    manifest = back_up(repository, owned_18)
    run(owned_18, GUARDED)
    run(
        superuser(owned_18),
        OUTSIDE.format(action=action),
        "ALTER TABLE notes OWNER TO CURRENT_USER",
    )
    run(superuser(owned_18), f"ALTER TABLE notes OWNER TO {owned_18.split('//')[1].split('@')[0]}")
    # It is in the closure of the dataset from now on, but was not in the backup.
    before = content(owned_18)
    with pytest.raises(RestoreError, match="newer") as caught:
        into(repository, manifest, owned_18, mode="replace")
    assert asked in caught.value.message
    result = into(repository, manifest, owned_18, mode="replace", yes=True)
    notes = "SELECT id, message_id FROM notes ORDER BY 1"
    assert rows(owned_18, notes) == left
    assert rows(owned_18, "SELECT * FROM outbox") == []
    assert result.restore_id is not None
    undo(owned_18, result.restore_id)
    assert rows(owned_18, notes) == [(1, 1000), (2, 7)]
    assert content(owned_18) == before
    assert rows(owned_18, "SELECT * FROM outbox") == []


def test_outside_rows_that_keep_a_row_from_going_are_counted(
    owned_18: str, repository: Repository
) -> None:
    manifest = back_up(repository, owned_18)
    run(owned_18, GUARDED, OUTSIDE.format(action="RESTRICT"))
    before = content(owned_18)
    with pytest.raises(RestoreError, match=r"1 rows of public\.notes .*does not let them"):
        into(repository, manifest, owned_18, mode="replace", yes=True)
    assert content(owned_18) == before


def test_copies_are_out_of_reach_of_api_roles(owned_18: str, repository: Repository) -> None:
    manifest = back_up(repository, owned_18)
    owner = owned_18.split("//")[1].split("@")[0]
    role = f"anon_{owner}"
    run(superuser(owned_18), f"CREATE ROLE {role} LOGIN",
        f"ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT ALL ON TABLES TO {role}, PUBLIC",
        f"ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT ALL ON SCHEMAS TO {role}",
        DAMAGE)  # fmt: skip
    result = into(repository, manifest, owned_18, mode="overwrite")
    assert result.restore_id is not None
    schema = f"convault_undo_{result.restore_id.hex}"
    found = rows(superuser(owned_18), f"SELECT has_schema_privilege('{role}', '{schema}', 'USAGE'),"
                 f" bool_or(has_table_privilege('{role}', c.oid, 'SELECT, INSERT')),"
                 f" bool_and(relrowsecurity) FROM pg_class c WHERE relkind = 'r'"
                 f" AND relnamespace = '{schema}'::regnamespace")  # fmt: skip
    assert found == [(False, False, True)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        rows(as_role(superuser(owned_18), role), f"SELECT * FROM {schema}.rows_0")
    undo(owned_18, result.restore_id)
    run(superuser(owned_18), f"DROP OWNED BY {role}", f"DROP ROLE {role}")


REFUSED = {
    "a missing table": ("DROP TABLE tags", "not public.tags"),
    "a missing column": ("ALTER TABLE messages DROP COLUMN meta", "has no column meta"),
    "another type": ("ALTER TABLE messages ALTER COLUMN meta TYPE jsonb", "has meta as jsonb"),
    "a narrower type": (
        "ALTER TABLE messages ALTER body TYPE varchar(100)",
        "computes|has body as",
    ),
    "a column that must be filled": (
        "ALTER TABLE tags ADD COLUMN must text NOT NULL DEFAULT 'x';"
        " ALTER TABLE tags ALTER must DROP DEFAULT",
        "column must that must be filled",
    ),
    "another key": (
        "ALTER TABLE tags ADD COLUMN uid uuid PRIMARY KEY DEFAULT gen_random_uuid()",
        "tells rows apart by",
    ),
}


@pytest.mark.parametrize(("sql", "says"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_before_a_write(
    owned_18: str, repository: Repository, sql: str, says: str
) -> None:
    manifest = back_up(repository, owned_18)
    if "body TYPE" in sql:
        run(owned_18, "ALTER TABLE messages DROP COLUMN size")
    run(owned_18, sql)
    before = state(owned_18)
    with pytest.raises(RestoreError, match=says):
        into(repository, manifest, owned_18, mode="overwrite")
    assert state(owned_18) == before


def test_who_may_not_keep_a_trigger_from_firing_is_refused(
    owned_18: str, repository: Repository
) -> None:
    manifest = back_up(repository, owned_18)
    owner = owned_18.split("//")[1].split("@")[0]
    role = f"writer_{owner}"
    run(superuser(owned_18), f"CREATE ROLE {role} LOGIN",
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")  # fmt: skip
    writer = as_role(superuser(owned_18), role)
    run(superuser(owned_18), "DELETE FROM tags")
    # Without triggers there is nothing to prevent.
    into(repository, manifest, writer, mode="skip")
    assert rows(owned_18, "SELECT count(*) FROM tags") == [(4,)]
    run(owned_18, "CREATE FUNCTION send() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER sends AFTER INSERT ON tags FOR EACH ROW EXECUTE FUNCTION send()",
        "DELETE FROM tags")  # fmt: skip
    with pytest.raises(RestoreError, match=r"trigger sends of public\.tags would fire"):
        into(repository, manifest, writer, mode="skip")
    assert rows(owned_18, "SELECT count(*) FROM tags") == [(0,)]
    run(superuser(owned_18), f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def test_a_mask_overwrites_nothing_that_lives(owned_18: str, repository: Repository) -> None:
    scope = Scope(
        TableName("public", "conversations"), TableName("public", "messages"),
        mask_columns=(("channels.name", "null"),),
    )  # fmt: skip
    manifest = back_up(repository, owned_18, scope=scope)
    assert any(column.mask for table in manifest.tables for column in table.columns)
    run(owned_18, "UPDATE messages SET body = 'changed' WHERE id = 1")
    with pytest.raises(RestoreError, match="values are masked in it"):
        into(repository, manifest, owned_18, mode="replace", yes=True)
    result = into(repository, manifest, owned_18, mode="overwrite")
    assert changes(result)["channels"] == Changes(skipped=2)
    assert changes(result)["messages"] == Changes(skipped=99, overwritten=1)
    assert rows(owned_18, "SELECT name FROM channels ORDER BY 1") == [("chat",), ("e-mail",)]


FOLLOWING = """
CREATE TABLE public.follows (id integer PRIMARY KEY, channel text
    REFERENCES public.channels (name) ON UPDATE CASCADE);
CREATE TABLE public.loses (id integer PRIMARY KEY, channel text
    REFERENCES public.channels (name) ON UPDATE SET NULL);
CREATE TABLE public.goes (message_id bigint PRIMARY KEY REFERENCES public.messages
    ON DELETE CASCADE);
CREATE TRIGGER told AFTER UPDATE OR DELETE ON public.follows FOR EACH ROW
    EXECUTE FUNCTION public.send();
CREATE TRIGGER told AFTER UPDATE OR DELETE ON public.goes FOR EACH ROW
    EXECUTE FUNCTION public.send();
INSERT INTO public.follows VALUES (2, 'changed');
"""


def test_rows_outside_follow_unheard_and_lose_nothing(
    owned_18: str, repository: Repository
) -> None:
    manifest = back_up(repository, owned_18)
    run(owned_18, GUARDED)
    run(superuser(owned_18), DAMAGE)
    run(owned_18, FOLLOWING, "INSERT INTO loses VALUES (2, 'changed')", "TRUNCATE outbox")
    before = content(owned_18)
    with pytest.raises(RestoreError, match=r"1 rows of public\.loses .*would lose the reference"):
        into(repository, manifest, owned_18, mode="overwrite")
    assert content(owned_18) == before
    run(owned_18, "DROP TABLE loses")
    result = into(repository, manifest, owned_18, mode="overwrite")
    assert rows(owned_18, "SELECT channel FROM follows") == [("chat",)]
    assert result.restore_id is not None
    # A row came that references what the undo would take away: it is not taken along.
    run(owned_18, "INSERT INTO goes SELECT max(id) FROM messages WHERE conversation_id = 3")
    with pytest.raises(RestoreError, match=r"1 rows of public\.goes .*Nothing was changed"):
        undo(owned_18, result.restore_id)
    assert rows(owned_18, "SELECT count(*) FROM goes") == [(1,)]
    run(owned_18, "TRUNCATE goes")
    undo(owned_18, result.restore_id)
    assert rows(owned_18, "SELECT channel FROM follows") == [("changed",)]
    assert content(owned_18) == before
    assert rows(owned_18, "SELECT * FROM outbox") == []
