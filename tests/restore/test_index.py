"""The index finds one conversation's rows, and fetching its frames alone gives them."""

from __future__ import annotations

import io
import json
from collections import Counter, defaultdict
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import polars as pl
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from convault.archive.composed import Archive
from convault.archive.extraction import extract
from convault.embedded.server import EmbeddedPostgres
from convault.manifest import Manifest, PartEntry
from convault.models import BackupFormat
from convault.repository import Repository
from tests.formats.decoders import csv_by_polars, unpacked
from tests.restore.builder import back_up

TABLES = """
CREATE TABLE public.channels (id integer PRIMARY KEY, name text);
CREATE TABLE public.conversations (id uuid PRIMARY KEY, channel_id integer
    REFERENCES public.channels, parent_id uuid REFERENCES public.conversations);
CREATE TABLE public.messages (id bigint, sent_at date, conversation_id uuid
    REFERENCES public.conversations, body text, PRIMARY KEY (id, sent_at))
    PARTITION BY RANGE (sent_at);
CREATE TABLE public.messages_old PARTITION OF public.messages
    FOR VALUES FROM (MINVALUE) TO ('2024-01-01');
CREATE TABLE public.messages_new PARTITION OF public.messages
    FOR VALUES FROM ('2024-01-01') TO (MAXVALUE);
CREATE TABLE public.attachments (id bigint PRIMARY KEY, message_id bigint, message_at date,
    path text, FOREIGN KEY (message_id, message_at) REFERENCES public.messages);
CREATE TABLE public.scans (attachment_id bigint REFERENCES public.attachments, verdict text);

INSERT INTO public.channels VALUES (1, 'e-mail'), (2, 'chat');
INSERT INTO public.conversations SELECT md5(n::text)::uuid, 1 + n % 2,
    CASE WHEN n > 1 THEN md5((n - 1)::text)::uuid END FROM generate_series(1, 60) n;
INSERT INTO public.messages SELECT n, '2023-12-01'::date + n % 60,
    CASE WHEN n % 61 > 0 THEN md5((n % 61)::text)::uuid END,
    E'"à",\\r\\n' || md5(n::text) || repeat(md5((n / 3)::text), 12)
    FROM generate_series(1, 16000) n;
INSERT INTO public.attachments SELECT id * 10, id, sent_at, 'file ' || id FROM public.messages
    WHERE id % 4 = 0;
INSERT INTO public.attachments VALUES (1, NULL, NULL, 'of no message');
INSERT INTO public.scans SELECT id, 'clean' FROM public.attachments WHERE id % 80 = 0;
"""

ROWS_OF = {
    "conversations": "SELECT id::text FROM conversations c WHERE id = %(c)s",
    "messages": "SELECT id::text FROM messages WHERE conversation_id = %(c)s",
    "attachments": "SELECT a.id::text FROM attachments a JOIN messages m ON m.id = a.message_id"
    " AND m.sent_at = a.message_at WHERE m.conversation_id = %(c)s",
    "scans": "SELECT attachment_id::text FROM scans s JOIN attachments a ON a.id = s.attachment_id"
    " JOIN messages m ON m.id = a.message_id WHERE m.conversation_id = %(c)s",
}


@pytest.fixture
def source(database: str) -> str:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(TABLES.encode())
    return database


def _index(repository: Repository, manifest: Manifest) -> pl.DataFrame:
    assert manifest.index is not None
    data = repository.store.get(manifest.index.key)
    assert (len(data), sha256(data).hexdigest()) == (manifest.index.bytes, manifest.index.sha256)
    blocks = [data[start : start + 16384] for start in range(0, len(data), 16384)]
    assert manifest.index.blocks == tuple(sha256(block).hexdigest() for block in blocks)
    return pl.read_parquet(io.BytesIO(data)).filter(pl.col("conversation").is_not_null())


def _frames(repository: Repository, manifest: Manifest) -> pl.DataFrame:
    assert manifest.index is not None
    index = pl.read_parquet(io.BytesIO(repository.store.get(manifest.index.key)))
    return index.filter(pl.col("conversation").is_null())


def _fetch(repository: Repository, part: PartEntry, entry: dict[str, int]) -> bytes:
    start, end = entry["offset"], entry["offset"] + entry["length"]
    assert 0 <= start < end <= part.stored_bytes
    return b"".join(repository.store.stream(part.key, start, end))


class _Fetched:
    """First column of each row, by table; bytes read and bytes that are there."""

    def __init__(self) -> None:
        self.rows: dict[str, list[str]] = defaultdict(list)
        self.neighbours = 0
        self.read = 0
        self.stored = 0


def _read(repository: Repository, part: PartEntry, entry: dict[str, int], columns: list) -> list:  # type: ignore[type-arg]
    data = _fetch(repository, part, entry)
    if part.key.endswith(".parquet"):
        # The footer tells where the columns of a row group lie; nothing else is needed.
        whole = bytearray(part.stored_bytes)
        whole[entry["offset"] : entry["offset"] + entry["length"]] = data
        tail = b"".join(repository.store.stream(part.key, part.stored_bytes - 8, part.stored_bytes))
        footer = part.stored_bytes - 8 - int.from_bytes(tail[:4], "little")
        whole[footer:] = b"".join(repository.store.stream(part.key, footer, part.stored_bytes))
        file = pq.ParquetFile(pa.BufferReader(bytes(whole)))
        groups = range(entry["first_frame"], entry["first_frame"] + entry["frames"])
        return [tuple(row.values()) for row in file.read_row_groups(list(groups)).to_pylist()]
    plain = unpacked(data)
    if ".csv" in part.key:
        names = ",".join(f'"{column.name}"' for column in columns) + "\r\n"
        return csv_by_polars(names.encode() + plain, columns)
    return [tuple(json.loads(line).values()) for line in plain.splitlines()]


def _conversation(repository: Repository, manifest: Manifest, conversation: str) -> _Fetched:
    """Only by the index and the frames that it names."""
    found = _Fetched()
    by_key = {part.key: (table, part) for table in manifest.tables for part in table.parts}
    entries = _index(repository, manifest).filter(pl.col("conversation") == conversation)
    for entry in entries.to_dicts():
        table, part = by_key[entry["part"]]
        rows = _read(repository, part, entry, list(table.columns))
        name = table.name.name.partition("_")[0]
        place = {"conversations": 0, "messages": 2}.get(name)
        found.read += entry["length"]
        found.stored += part.stored_bytes
        if place is None:
            found.rows[name] += [str(row[0]) for row in rows]  # told apart by the test
        else:
            mine = [str(row[0]) for row in rows if row[place] == conversation]
            assert len(mine) == entry["rows"]
            found.rows[name] += mine
            found.neighbours += len(rows) - len(mine)
            keys = [row[place] for row in rows if row[place] is not None]
            assert keys == sorted(keys)
    return found


@pytest.mark.parametrize("format", list(BackupFormat))
@pytest.mark.parametrize("level", [0, 3])
def test_the_frames_of_a_conversation_give_its_rows(
    source: str, repository: Repository, format: BackupFormat, level: int
) -> None:
    manifest = back_up(
        repository, source, format=format, level=level, part_bytes=32 << 20, range_pages=4096
    )
    assert manifest.index is not None
    assert {table.name for table in manifest.index.tables} == {
        "conversations", "messages_old", "messages_new", "attachments", "scans"
    }  # fmt: skip
    with psycopg.connect(source) as connection:
        for (conversation,) in connection.execute(
            "SELECT id::text FROM conversations ORDER BY id LIMIT 3 OFFSET 20"
        ).fetchall():
            found = _conversation(repository, manifest, conversation)
            for table, query in ROWS_OF.items():
                wanted = [r for (r,) in connection.execute(query.encode(), {"c": conversation})]
                if table in ("conversations", "messages"):
                    assert Counter(found.rows[table]) == Counter(wanted)
                else:  # with those of its neighbours in the frame
                    assert not Counter(wanted) - Counter(found.rows[table])
            assert found.neighbours > 0
            # Two frames of each part of several, at most, and whole parts of what is small.
            assert found.read < found.stored * 0.55


def test_entries_are_all_rows_that_belong_somewhere(source: str, repository: Repository) -> None:
    manifest = back_up(repository, source)
    index = _index(repository, manifest)
    assert index.columns == [
        "conversation", "part", "first_frame", "frames", "offset", "length", "rows", "digest",
        "first_key", "last_key",
    ]  # fmt: skip
    assert index["conversation"].is_sorted()
    names = {part.key: table.name.name.partition("_")[0]
             for table in manifest.tables for part in table.parts}  # fmt: skip
    found: Counter[tuple[str, str]] = Counter()
    for row in index.iter_rows(named=True):
        found[names[row["part"]], row["conversation"]] += row["rows"]
    expected: Counter[tuple[str, str]] = Counter()
    with psycopg.connect(source) as connection:
        for (conversation,) in connection.execute("SELECT id::text FROM conversations").fetchall():
            for table, query in ROWS_OF.items():
                rows = len(connection.execute(query.encode(), {"c": conversation}).fetchall())
                if rows:
                    expected[table, conversation] = rows
    assert found == expected
    assert len(manifest.tables) > len({table for table, _ in expected})


def test_it_holds_no_value_but_the_keys(source: str, repository: Repository) -> None:
    index = _index(repository, back_up(repository, source))
    with psycopg.connect(source) as connection:
        rows = connection.execute("SELECT id::text FROM conversations").fetchall()
    texts = [name for name, type_ in index.schema.items() if type_ == pl.String]
    assert texts == ["conversation", "part", "first_key", "last_key"]
    assert index["first_key"].is_null().all()
    assert index["last_key"].is_null().all()
    assert set(index["conversation"]) == {row[0] for row in rows}


def test_ties_keep_the_order_of_the_pages_and_rows_of_none_come_last(
    source: str, repository: Repository
) -> None:
    manifest = back_up(repository, source, part_bytes=32 << 20, range_pages=4096)
    table = next(t for t in manifest.tables if t.name.name == "messages_old")
    (part,) = table.parts
    lines = [json.loads(line) for line in unpacked(repository.store.get(part.key)).splitlines()]
    with psycopg.connect(source) as connection:
        rows = connection.execute(
            "SELECT id FROM messages_old"
            ' ORDER BY conversation_id::text COLLATE "C" NULLS LAST, ctid'
        ).fetchall()
    assert [line["id"] for line in lines] == [row[0] for row in rows]
    assert lines[-1]["conversation_id"] is None


def test_it_is_part_of_the_tar(source: str, repository: Repository, tmp_path: Path) -> None:
    manifest = back_up(repository, source)
    repository.put_manifest(manifest)
    extract(Archive(repository, manifest.backup_id).stream(), tmp_path / "out")
    index = pl.read_parquet(tmp_path / "out" / "index.parquet")
    entries = index.filter(pl.col("conversation").is_not_null())
    assert entries.equals(_index(repository, manifest))
    assert set(index["part"]) <= {part.key for table in manifest.tables for part in table.parts}
    assert manifest.index is not None
    assert f"{manifest.index.sha256}  index.parquet\n" in (tmp_path / "out/SHA256SUMS").read_text()


@pytest.mark.parametrize("level", [0, 3])
@pytest.mark.parametrize("format", list(BackupFormat))
def test_every_frame_has_its_digest_and_the_bounds_of_its_keys(
    source: str, repository: Repository, format: BackupFormat, level: int
) -> None:
    manifest = back_up(repository, source, part_bytes=1 << 19, format=format, level=level)
    frames = _frames(repository, manifest)
    for table in manifest.tables:
        for part in table.parts:
            stored = repository.store.get(part.key)
            place = rows = 0
            for frame in frames.filter(pl.col("part") == part.key).iter_rows(named=True):
                place = max(place, frame["offset"] + frame["length"])
                rows += frame["rows"]
                data = stored[frame["offset"] : frame["offset"] + frame["length"]]
                assert sha256(data).digest()[:16] == frame["digest"]
                if table.name.name == "channels" and frame["rows"]:
                    assert (frame["first_key"], frame["last_key"]) == ("1", "2")
                if table.name.name == "scans":  # it has no primary key
                    assert frame["first_key"] is None
            assert (place, rows) == (part.stored_bytes, part.rows)


@pytest.mark.parametrize("format", list(BackupFormat))
def test_the_same_rows_have_the_same_objects(
    source: str, repository: Repository, format: BackupFormat
) -> None:
    first, second = (back_up(repository, source, format=format) for _ in range(2))
    assert [t.parts for t in first.tables] == [t.parts for t in second.tables]
    assert first.index is not None
    assert second.index is not None
    assert (first.index.sha256, first.index.tables) == (second.index.sha256, second.index.tables)


def test_a_root_without_a_primary_key_has_no_index(
    any_cluster: EmbeddedPostgres,
    new_database: Callable[[EmbeddedPostgres], str],
    repository: Repository,
) -> None:
    url = new_database(any_cluster)
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE public.conversations (id int UNIQUE, subject text)")
        connection.execute("CREATE TABLE public.messages (id int REFERENCES conversations (id))")
        connection.execute("INSERT INTO conversations VALUES (2, 'b'), (1, 'a')")
    manifest = back_up(repository, url)
    assert manifest.index is None
    assert manifest.rows == 2


ODD_KEYS = """
CREATE TYPE public.mood AS ENUM ('a', 'b');
CREATE TABLE public.conversations (tenant int, n int, code text UNIQUE, PRIMARY KEY (n, tenant));
CREATE TABLE public.messages (id int PRIMARY KEY, of_tenant int, of_n int, slug public.mood UNIQUE,
    FOREIGN KEY (of_tenant, of_n) REFERENCES public.conversations (tenant, n));
CREATE TABLE public.labels (code text REFERENCES public.conversations (code), "n" int);
CREATE TABLE public.moods (slug public.mood REFERENCES public.messages (slug));
CREATE TABLE public.bare ();
INSERT INTO public.conversations VALUES (1, 7, 'x'), (2, 7, 'y,"z'), (1, 8, NULL);
INSERT INTO public.messages VALUES (1, 2, 7, 'a'), (2, 1, 7, NULL), (3, 1, NULL, 'b');
INSERT INTO public.labels VALUES ('y,"z', 1), ('x', 2), (NULL, 3);
INSERT INTO public.moods VALUES ('a'), ('b');
"""


def test_keys_of_several_columns_and_keys_of_somebodys_own_types(
    any_cluster: EmbeddedPostgres,
    new_database: Callable[[EmbeddedPostgres], str],
    repository: Repository,
) -> None:
    url = new_database(any_cluster)
    with psycopg.connect(url) as connection:
        connection.execute(ODD_KEYS.encode())
    manifest = back_up(repository, url)
    assert manifest.index is not None
    # Of a key over an enum, which operator compares is the type's affair: it is not followed.
    assert {t.name for t in manifest.index.tables} == {"conversations", "messages", "labels"}
    names = {part.key: table.name.name for table in manifest.tables for part in table.parts}
    index = _index(repository, manifest)
    found = {(names[row["part"]], row["conversation"], row["rows"])
             for row in index.iter_rows(named=True)}  # fmt: skip
    assert found == {
        ("conversations", "(7,1)", 1), ("conversations", "(7,2)", 1), ("conversations", "(8,1)", 1),
        ("messages", "(7,2)", 1), ("messages", "(7,1)", 1),
        ("labels", "(7,2)", 1), ("labels", "(7,1)", 1),
    }  # fmt: skip
