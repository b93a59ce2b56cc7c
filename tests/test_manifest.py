"""The manifest: reads what it wrote, refuses everything else with one error."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Literal
from uuid import uuid4

import frictionless
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from convault.errors import RepositoryError
from convault.layout import SUFFIXES
from convault.manifest import DigestKey, EncryptionFacts, Manifest, PartEntry, TableEntry, part_path
from convault.models import (
    MAX_PART_BYTES,
    Absence,
    Column,
    ForeignKey,
    SourceFacts,
    Statement,
    TableName,
)
from convault.repository import Repository
from tests.handmade import BACKUP, CONVERSATIONS, new_backup, new_repository

REPOSITORY = new_repository()
MANIFEST = new_backup(REPOSITORY)
DATA = MANIFEST.to_bytes()

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
table_names = st.builds(TableName, texts, texts)
RECIPIENT = "age1q47k6a6v9qh08s4gqlkjr4lnsam7q9utde8wkd424gapdwshkess0k4kfu"
DIGEST_KEY = DigestKey(id="0123456789abcdef", recipients=(RECIPIENT,), sealed="")
digests = st.integers(0, 16**64 - 1).map(lambda n: f"{n:064x}")
counts = st.integers(0, 2**63 - 1)
columns = st.builds(
    Column,
    name=texts,
    number=st.integers(1, 1600),
    type=texts,
    encoding=st.sampled_from(["boolean", "integer", "text"]),
    not_null=st.booleans(),
    generated=st.sampled_from(["", "s", "v"]),
    identity=st.sampled_from(["", "a", "d"]),
    mask=st.sampled_from(["", "null", "hash"]),
)
absences = st.builds(
    Absence, table_names, st.none() | texts, st.sampled_from(["excluded", "unreachable"])
)


@st.composite
def tables(draw: st.DrawFn, name: TableName, *, reference_only: bool = False) -> TableEntry:
    parts = []
    kind: Literal["r", "p"] = draw(st.sampled_from(["r", "p"]))
    page, ordinal = 0, 0
    listed = draw(st.lists(digests, max_size=3, unique=True)) if kind == "r" else []
    for number, digest in enumerate(listed):
        suffix = draw(st.sampled_from(SUFFIXES))
        if parts and draw(st.booleans()):
            ordinal += 1  # one more of the same range
        else:
            page, ordinal = page + draw(st.integers(10, 2**29)), 0
        parts.append(
            PartEntry(
                key=REPOSITORY.part_key(name, digest, suffix),
                path=part_path(name, number, suffix),
                sha256=digest,
                stored_bytes=draw(st.integers(0, 2**20)),
                plain_sha256=draw(digests),
                plain_bytes=draw(st.integers(0, MAX_PART_BYTES)),
                rows=draw(st.integers(0, 2**60)),
                first_page=page,
                end_page=page + 7,
                ordinal=ordinal,
                digest_key=DIGEST_KEY.id if suffix.endswith(".age") else None,
            )
        )
    if parts and draw(st.booleans()):
        parts = [
            part.model_copy(update={"end_page": None}) if part.first_page == page else part
            for part in parts
        ]
    live = draw(st.lists(columns, max_size=3, unique_by=lambda column: column.name))
    return TableEntry(
        name=name,
        kind=kind,
        columns=tuple(live),
        primary_key=tuple(column.name for column in live[: draw(st.integers(0, 2))]),
        parents=tuple(draw(st.lists(table_names, max_size=2))),
        rows=sum(part.rows for part in parts),
        parts=tuple(parts),
        digest=draw(st.none() | st.integers(0, 2**64 - 1).map(lambda n: f"{n:016x}")),
        reference_only=reference_only,
    )


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    names = draw(st.lists(table_names, min_size=1, max_size=3, unique=True))
    name_tuples = st.lists(texts, max_size=2).map(tuple)
    zone = timezone(timedelta(minutes=draw(st.integers(-14 * 60, 14 * 60))))
    return Manifest(
        format=draw(st.sampled_from([0, 1])),
        backup_id=draw(st.uuids()),
        repository_id=draw(st.uuids()),
        created_at=draw(
            st.datetimes(datetime(1970, 1, 2), datetime(2240, 1, 1), timezones=st.just(zone))
        ),
        options=draw(st.dictionaries(texts, st.none() | st.booleans() | texts | counts)),
        parent_id=draw(st.none() | st.uuids()),
        source=draw(st.builds(SourceFacts, *[texts] * 6)),
        consistency="snapshot",
        root=names[0],
        tables=tuple(
            draw(tables(name, reference_only=number > 0 and draw(st.booleans())))
            for number, name in enumerate(names)
        ),
        foreign_keys=tuple(
            draw(
                st.lists(
                    st.builds(
                        ForeignKey, texts, table_names, name_tuples, table_names, name_tuples
                    ),
                    max_size=2,
                )
            )
        ),
        statements=tuple(
            draw(
                st.lists(
                    st.builds(
                        Statement, texts, texts, texts, st.booleans(), name_tuples, name_tuples
                    ),
                    max_size=2,
                )
            )
        ),
        members=(),
        revision=draw(st.integers(1, 9999)),
        encryption=EncryptionFacts(
            scheme="age", recipients=(RECIPIENT,), access="part", digest_keys=(DIGEST_KEY,)
        ),
        absent=tuple(draw(st.lists(absences, max_size=2))),
    )


@settings(max_examples=60)
@given(manifests())
def test_reads_what_it_wrote(manifest: Manifest) -> None:
    data = manifest.to_bytes()
    again = Manifest.from_bytes(data, where="test")
    assert again == manifest
    assert again.to_bytes() == data


def test_sums_over_its_tables() -> None:
    shared = MANIFEST.tables[1].parts
    assert shared[0].key == shared[2].key
    assert MANIFEST.rows == 20 + 300 + 50 + 300 + 3
    parts = [part for table in MANIFEST.tables for part in table.parts]
    assert MANIFEST.stored_bytes == sum(p.stored_bytes for p in parts) - shared[0].stored_bytes
    assert MANIFEST.plain_bytes == sum(p.plain_bytes for p in parts)
    assert MANIFEST.file_name == f"backup_{BACKUP}.tar"
    for key, size in MANIFEST.objects().items():
        assert REPOSITORY.store.head(key).size == size


def test_a_masked_column_says_so_to_every_reader_of_data_packages() -> None:
    first = MANIFEST.tables[0]
    columns = (replace(first.columns[1], mask="hash"), *first.columns[2:])
    masked = first.model_copy(update={"columns": columns})
    package = json.loads(MANIFEST.model_copy(update={"tables": (masked,)}).to_bytes())
    fields = [field["x-postgres"] for field in package["resources"][0]["schema"]["fields"]]
    assert fields == [
        {"type": "text", "encoding": "text", "mask": "hash"},
        {"type": "boolean", "encoding": "boolean"},
    ]


def test_the_root_is_never_kept_for_reference_only() -> None:
    def forge(content: Any) -> None:
        content["tables"][0]["reference_only"] = True

    with pytest.raises(RepositoryError, match="kept for reference only"):
        Manifest.from_bytes(changed(forge), where="test")


# What is malformed, one thing at a time.


def changed(change: Callable[[Any], object]) -> bytes:
    content = json.loads(DATA)
    change(content["convault"])
    return json.dumps(content).encode()


def part_with(**values: object) -> Callable[[Any], object]:
    return lambda c: c["tables"][1]["parts"][1].update(values)


def with_index(**values: object) -> Callable[[Any], object]:
    whole = {"path": "index.parquet", "key": f"backups/{MANIFEST.backup_id}/index.parquet",
             "sha256": "0" * 64, "bytes": 1, "tables": []}  # fmt: skip
    return lambda c: c.update(index=whole | values)


def with_ranges(*pages: tuple[int, int | None], **values: object) -> Callable[[Any], object]:
    """Ranges of the table with three parts, of these pages."""
    rows = {part.first_page: part.rows for part in MANIFEST.tables[1].parts}
    ranges = [
        {"first_page": first, "end_page": end, "rows": rows.get(first, 0), "key": None,
         "reason": "because"} | values
        for first, end in pages
    ]  # fmt: skip
    return lambda c: c["tables"][1].update(ranges=ranges)


SHA = MANIFEST.tables[1].parts[1].sha256
OTHER = MANIFEST.tables[1].parts[0].sha256
HOSTILE = ["/etc/passwd", "../x", f"data/messages/../{SHA}.ndjson.zst", f"data//{SHA}.ndjson.zst",
           f"data\\messages\\{SHA}.ndjson.zst", f"data/messages/{SHA}.ndjson.zst\n",
           f"data/messages/{SHA}.ndjson.zst\0", f"data/messages/{OTHER}.ndjson.zst",
           f"data/conversations/{SHA}.ndjson.zst", f"data/messages/{SHA}.csv.zst",
           f"data/messages/{SHA}", f"files/{SHA}", "convault.json", ""]  # fmt: skip
HOSTILE_PATHS = ["/messages/00001.ndjson.zst", "../messages/00001.ndjson.zst",
                 "messages/../00001.ndjson.zst", "messages\\00001.ndjson.zst",
                 "messages/00001.ndjson.zst\n", "messages/00000.ndjson.zst",
                 "messages/00002.ndjson.zst", "messages/1.ndjson.zst", "messages/00001.ndjson",
                 "conversations/00001.ndjson.zst", "SHA256SUMS", "datapackage.json", "",
                 "./messages/00001.ndjson.zst", "Messages/00001.ndjson.zst"]  # fmt: skip

BROKEN: dict[str, Callable[[Any], object]] = {
    **{f"key {key!r}": part_with(key=key) for key in HOSTILE},
    **{f"path {path!r}": part_with(path=path) for path in HOSTILE_PATHS},
    "digest in capitals": part_with(sha256=SHA.upper()),
    "digest with a newline": part_with(sha256=SHA + "\n"),
    "negative size": part_with(stored_bytes=-1),
    "huge size": part_with(stored_bytes=2**63),
    "size as text": part_with(stored_bytes="5"),
    "size as a fraction": part_with(stored_bytes=5.0),
    "format as a boolean": lambda c: c.update(format=True),
    "not a number": lambda c: c["options"].update(compressionLevel=float("nan")),
    "infinity": lambda c: c["options"].update(compressionLevel=float("inf")),
    "a range over another": with_ranges((0, 10), (9, 20), (20, 30)),
    "a range that ends nowhere before another": with_ranges((0, 10), (10, None), (20, 30)),
    "a part in no range": with_ranges((0, 10), (10, 20)),
    "a range of other rows": with_ranges((0, 10), (10, 20), (20, 30), rows=1),
    "a range without a key and a reason": with_ranges((0, 10), (10, 20), (20, 30), reason=""),
    "a range with a key and a reason": with_ranges((0, 10), (10, 20), (20, 30), key=SHA),
    "a range with half a key": with_ranges((0, 10), (10, 20), (20, 30), key=SHA[1:], reason=""),
    "one object of two sizes": lambda c: c["tables"][1]["parts"][0].update(stored_bytes=1),
    "a part twice": lambda c: c["tables"][1].update(
        rows=c["tables"][1]["rows"] + c["tables"][1]["parts"][2]["rows"],
        parts=[
            *c["tables"][1]["parts"],
            c["tables"][1]["parts"][2] | {"path": "messages/00003.ndjson.zst"},
        ],
    ),
    "pages that overlap": part_with(first_page=9),
    "a part of its range gone": part_with(ordinal=1),
    "pages backwards": part_with(end_page=10),
    "pages that no table has": part_with(end_page=2**32 + 1),
    "more rows than its parts have": lambda c: c["tables"][1].update(rows=10**9),
    "rows without a part": lambda c: c["tables"][1].update(parts=[]),
    "a partitioned table with rows": lambda c: c["tables"][1].update(kind="p"),
    "an object far larger than its rows": part_with(stored_bytes=3 * MAX_PART_BYTES),
    "a bomb": part_with(plain_bytes=MAX_PART_BYTES + 1),
    "a bomb of one row": lambda c: (
        c["tables"][2].update(rows=1),
        c["tables"][2]["parts"][0].update(rows=1, plain_bytes=2**40),
    ),
    "a column twice": lambda c: c["tables"][1]["columns"].append(c["tables"][1]["columns"][0]),
    "a column without a name": lambda c: c["tables"][1]["columns"][1].update(name=""),
    "a primary key of no column": lambda c: c["tables"][1].update(primary_key=["other"]),
    "digest of a table in capitals": lambda c: c["tables"][1].update(digest="A" * 16),
    "parts swapped": lambda c: c["tables"][1]["parts"].reverse(),
    "table twice": lambda c: c["tables"].append(c["tables"][3]),
    "table without a name": lambda c: c["tables"][3].update(name=["public", ""]),
    "table without a schema": lambda c: c["tables"][3].update(name=["", "empty"]),
    "root elsewhere": lambda c: c.update(root=["public", "nothing"]),
    "member of another backup": lambda c: c["members"][0].update(
        key=f"backups/{uuid4()}/README.txt"
    ),
    "member that climbs": lambda c: c["members"][0].update(key="../README.txt"),
    "member of another name": lambda c: c["members"][0].update(path="../README.txt"),
    "index of another backup": with_index(key=f"backups/{uuid4()}/index.parquet"),
    "index that climbs": with_index(key="../index.parquet"),
    "index of another name": with_index(path="README.txt"),
    "index without a digest": with_index(sha256=""),
    "member twice": lambda c: c["members"].append(c["members"][0]),
    "no time": lambda c: c.update(created_at="yesterday"),
    "time without a zone": lambda c: c.update(created_at="2026-01-01T00:00:00"),
    "time before tar": lambda c: c.update(created_at="1969-12-31T23:59:59Z"),
    "time after tar": lambda c: c.update(created_at="2300-01-01T00:00:00Z"),
    "extreme time": lambda c: c.update(created_at="0001-01-01T00:00:00+14:00"),
    "another format": lambda c: c.update(format=-1),
    "format as text": lambda c: c.update(format="0.5"),
    "format missing": lambda c: c.pop("format"),
    "field missing": lambda c: c.pop("tables"),
    "features as text": lambda c: c.update(features="none"),
    "features as a number": lambda c: c.update(features=1),
    "a feature that is no text": lambda c: c.update(features=[{}]),
    "revision 0": lambda c: c.update(revision=0),
    "files, which are reserved": lambda c: c.update(files=[{"path": "x"}]),
    "erasures, which are reserved": lambda c: c.update(erasures=[{}]),
    "consistency unknown": lambda c: c.update(consistency="none"),
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_refuses_what_is_malformed(change: Callable[[Any], object]) -> None:
    with pytest.raises(RepositoryError) as caught:
        Manifest.from_bytes(changed(change), where="backups/x/datapackage.json")
    assert "backups/x/datapackage.json" in caught.value.message
    assert caught.value.message.isprintable()


def test_reads_a_manifest_with_an_index() -> None:
    manifest = Manifest.from_bytes(changed(with_index()), where="test")
    assert manifest.index is not None
    assert manifest.objects() == MANIFEST.objects() | {manifest.index.key: 1}


def test_reads_it_unchanged() -> None:
    assert Manifest.from_bytes(changed(lambda content: None), where="test") == MANIFEST


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[]", b"null", b"1", b'"convault"', b"{", b"\xff", b'{"convault": null}',
     b'{"convault": []}', b'{"convault": {}}', b"[" * 100_000, b"9" * 10_000, DATA[:-20],
     b'{"convault": {"format": 1e999}}', b'{"convault": {"format": true}}'],
)  # fmt: skip
def test_refuses_what_is_no_manifest(data: bytes) -> None:
    with pytest.raises(RepositoryError):
        Manifest.from_bytes(data, where="test")


def test_a_newer_format_asks_for_an_upgrade() -> None:
    with pytest.raises(RepositoryError, match="has format 7, this version reads 1: upgrade"):
        Manifest.from_bytes(
            changed(lambda c: (c.update(format=7), c.update(unheard_of=1))), where="test"
        )


def test_a_feature_that_is_not_known_asks_for_an_upgrade() -> None:
    with pytest.raises(RepositoryError, match=r"does not know \('sharded', '\\x1b'\): upgrade"):
        Manifest.from_bytes(
            changed(lambda c: c.update(features=["sharded", "\x1b"], tables="another thing")),
            where="test",
        )


def objects_in(node: Any) -> list[dict[str, Any]]:
    """Every JSON object at or below the node but the options, which are a map."""
    if isinstance(node, list):
        return [found for item in node for found in objects_in(item)]
    if not isinstance(node, dict):
        return []
    below = [
        found for key, value in node.items() if key != "options" for found in objects_in(value)
    ]
    return [node, *below]


def test_fields_that_are_not_known_are_passed_over_wherever_they_stand() -> None:
    def add(content: Any) -> None:
        with_index()(content)
        with_ranges((0, 10), (10, 20), (20, 30))(content)

    def add_more(content: Any) -> None:
        add(content)
        found = objects_in(content)
        assert len(found) > 30
        for place in found:
            place["unheard of"] = {"of": [1, None]}

    known = Manifest.from_bytes(changed(add), where="test")
    assert Manifest.from_bytes(changed(add_more), where="test") == known
    assert [r.rows for r in known.tables[1].ranges] == [300, 50, 300]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["../x", "/x", SHA, "2026-01-01", "\ud800", "a\0b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@settings(max_examples=150)
@given(st.data())
def test_a_change_anywhere_is_read_or_refused_but_never_crashes(data: st.DataObject) -> None:
    content = json.loads(DATA)
    node: Any = content["convault"]
    while True:
        places = list(node) if isinstance(node, dict) else list(range(len(node)))
        place = data.draw(st.sampled_from(places))
        if isinstance(node[place], dict | list) and node[place] and data.draw(st.booleans()):
            node = node[place]
            continue
        break
    if data.draw(st.booleans()):
        del node[place]
    else:
        node[place] = data.draw(JSON)
    try:
        manifest = Manifest.from_bytes(json.dumps(content).encode(), where="test")
    except RepositoryError as error:
        refusal = error.message
    else:
        refusal = ""
        assert Manifest.from_bytes(manifest.to_bytes(), where="test") == manifest
    assert refusal.isprintable()


@settings(max_examples=100)
@given(st.integers(0, len(DATA) - 1), st.binary(max_size=3))
def test_a_changed_byte_is_read_or_refused_but_never_crashes(at: int, new: bytes) -> None:
    try:
        Manifest.from_bytes(DATA[:at] + new + DATA[at + 1 :], where="test")
    except RepositoryError:
        return


def test_a_repository_stores_no_manifest_that_it_could_not_read() -> None:
    repository = new_repository()
    manifest = new_backup(repository)
    moved = manifest.model_copy(update={"root": TableName("public", "elsewhere")})
    with pytest.raises(RepositoryError, match="root"):
        repository.put_manifest(moved)
    assert repository.backup_ids() == []


@pytest.mark.parametrize(("needs", "read"), [(None, ()), ("auth.users", ("auth.users",))])
def test_what_0_1_0_wrote_of_needs_is_read(needs: object, read: tuple[str, ...]) -> None:
    package = json.loads(MANIFEST.to_bytes())
    (statement,) = package["convault"]["statements"]
    statement["needs"] = needs
    del statement["redacted"]
    manifest = Manifest.from_bytes(json.dumps(package).encode(), where="here")
    assert manifest.statements[0].needs == read
    assert manifest.statements[0].redacted == ()


def test_a_time_needs_its_zone() -> None:
    values = MANIFEST.model_dump() | {"created_at": datetime(2026, 1, 1)}
    with pytest.raises(ValidationError, match="timezone"):
        Manifest(**values)
    assert Manifest(**(values | {"created_at": datetime(2026, 1, 1, tzinfo=UTC)}))


def test_frictionless_finds_the_package_valid() -> None:
    descriptor = json.loads(DATA)
    report = frictionless.Package.from_descriptor(descriptor)
    assert frictionless.Package.validate_descriptor(descriptor).valid
    assert [resource.path for resource in report.resources] == [
        part.path for table in MANIFEST.tables for part in table.parts
    ]
    first = report.resources[0]
    assert (first.hash, first.bytes) == (
        f"sha256:{MANIFEST.tables[0].parts[0].sha256}",
        MANIFEST.tables[0].parts[0].stored_bytes,
    )
    assert [(field.name, field.type) for field in first.schema.fields] == [
        ("id", "integer"),
        ("title", "string"),
        ("open", "boolean"),
    ]
    assert first.schema.primary_key == ["id"]


@settings(max_examples=10)
@given(manifests())
def test_frictionless_finds_any_package_valid(manifest: Manifest) -> None:
    descriptor = json.loads(manifest.to_bytes())
    names = [resource["name"] for resource in descriptor["resources"]]
    assert len(set(names)) == len(names)
    if names:
        checked = frictionless.Package.validate_descriptor(descriptor)
        assert checked.valid, checked.flatten(["type", "note"])


def test_names_of_resources_stay_apart_where_names_of_tables_are_alike() -> None:
    names = [TableName("a", "2eb"), TableName("public", "a.b"), TableName("public", "a"),
             TableName("a.b", "c"), TableName("a", ".b"), CONVERSATIONS]  # fmt: skip
    manifest = new_backup(Repository.create(_memory()), {name: [b"{}\n"] for name in names})
    package = json.loads(manifest.to_bytes())
    assert len({resource["name"] for resource in package["resources"]}) == len(names)


def _memory() -> Any:
    from obstore.store import MemoryStore

    from convault.stores.objects import ObjectStore

    return ObjectStore(MemoryStore(), "memory://")
