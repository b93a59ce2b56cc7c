"""A reader of Convault's repositories, written from docs/format.md alone.

It uses Python's standard library and `zstandard`, the program `age` for what is encrypted, and
nothing of Convault. Parquet needs a library of its own and is not read here. `reader.py FOLDER
[--identity FILE] [--signing-key HEX]` writes, as JSON, what each backup holds: {backup id:
{"signature": "signed", "tables": {"schema.table": {"columns": [...], "rows": [[...], ...]}}}}.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zstandard

FORMAT = 1
FEATURES = {"shared-index"}
Value = bool | int | str | None
Row = list[Value]


class Unreadable(Exception):
    """What is wrong with a repository."""


def require(condition: object, message: str) -> None:
    if not condition:
        raise Unreadable(message)


# "How it may grow"


def refuse_what_is_too_new(content: dict[str, Any]) -> None:
    require(content["format"] <= FORMAT, f"format {content['format']} is newer than this reader")
    unknown = set(content.get("features", [])) - FEATURES
    require(not unknown, f"unknown features: {unknown}")


# "Names"


def encoded(name: str) -> str:
    plain = b"abcdefghijklmnopqrstuvwxyz0123456789_-"
    return "".join(chr(byte) if byte in plain else f"={byte:02x}" for byte in name.encode())


def folder_of(schema: str, name: str) -> str:
    return encoded(name) if schema == "public" else f"{encoded(schema)}/{encoded(name)}"


# "Parts"


def unpacked(data: bytes) -> list[bytes]:
    """What the zstandard frames hold, one by one: each stands for itself."""
    frames = []
    while data:
        one = zstandard.ZstdDecompressor().decompressobj()
        frames.append(one.decompress(data))
        require(one.eof, "a frame is cut off")
        data = one.unused_data
    return frames


def ndjson_rows(text: str, names: list[str]) -> Iterator[Row]:
    lines = text.split("\n")
    require(lines.pop() == "", "the last line does not end")
    for line in lines:
        row = json.loads(line)
        require(list(row) == names, "a line has other columns")
        yield list(row.values())


FIELD = re.compile(r'(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n)')


def csv_records(text: str) -> Iterator[list[tuple[bool, str]]]:
    """Records of fields, each with whether it was in quotes."""
    at, record = 0, []
    while at < len(text):
        found = FIELD.match(text, at)
        require(found is not None, "this is no CSV")
        assert found is not None
        quoted, plain, end = found.groups()
        record.append((quoted is not None, plain if quoted is None else quoted.replace('""', '"')))
        at = found.end()
        if end != ",":
            yield record
            record = []
    require(not record, "the last record does not end")


def csv_rows(text: str, columns: list[dict[str, Any]]) -> Iterator[Row]:
    records = csv_records(text)
    header = [name for _, name in next(records)]
    require(header == ([column["name"] for column in columns] or [""]), "the header is another")
    for record in records:
        if columns:
            require(len(record) == len(columns), "a record has more or fewer fields")
        yield [value_of(field, c["encoding"]) for field, c in zip(record, columns, strict=False)]


def value_of(field: tuple[bool, str], encoding: str) -> Value:
    quoted, text = field
    if not quoted and text == "":
        return None
    require(quoted == (encoding == "text"), "a value is quoted that should not be, or is not")
    if encoding == "boolean":
        return {"true": True, "false": False}[text]
    return int(text) if encoding == "integer" else text


ENCODINGS: dict[str, tuple[type, ...]] = {
    "boolean": (bool, type(None)),
    "integer": (int, type(None)),
    "text": (str, type(None)),
}


# "Encryption"


def decrypted(data: bytes, identity: str | None) -> bytes:
    require(identity, "it is encrypted, and no identity was given")
    done = subprocess.run(
        ["age", "-d", "-i", str(identity)], input=data, capture_output=True, check=False
    )
    require(done.returncode == 0, f"age does not open it: {done.stderr.decode().splitlines()[:1]}")
    return done.stdout


def digest_keys(manifest: dict[str, Any], identity: str | None) -> dict[str, bytes]:
    encryption = manifest.get("encryption")
    if encryption is None:
        return {}
    require(encryption["scheme"] == "age", "encrypted in another way")
    require(encryption["access"] == "part", "parts are not whole age files")
    found = {
        key["id"]: decrypted(base64.b64decode(key["sealed"], validate=True), identity)
        for key in encryption["digest_keys"]
    }
    require(all(len(key) == 32 for key in found.values()), "a digest key has no 32 bytes")
    return found


# "Signature"


def signature_of(data: bytes, key: bytes | None) -> str:
    names = list(json.loads(data))
    if names[-1] == "convault":
        return "unsigned"
    if key is None:
        return "unchecked"
    end = b'"\n }\n}\n'
    zeroed = data[: -len(end) - 64] + b"0" * 64 + end
    value = hmac.new(key, zeroed, "sha256").hexdigest().encode()
    if not data.endswith(end) or value != data[-len(end) - 64 : -len(end)]:
        return "wrong"
    written = json.loads(data)["signature"]
    key_id = hmac.new(key, b"convault signing key id", "sha256").hexdigest()[:16]
    require(written == {"algorithm": "HMAC-SHA256", "key_id": key_id, "value": value.decode()},
            "the signature's members are others")  # fmt: skip
    return "signed"


def rows_of(
    folder: Path, table: dict[str, Any], part: dict[str, Any], keys: dict[str, bytes],
    identity: str | None,
) -> list[Row]:  # fmt: skip
    key, columns = part["key"], table["columns"]
    home, _, name = key.rpartition("/")
    require(home == f"data/{folder_of(*table['name'])}", f"{key} lies elsewhere")
    require(name.startswith(part["sha256"] + "."), f"{key} has another name than digest")
    data = (folder / key).read_bytes()
    require(len(data) == part["stored_bytes"], f"{key} has another size")
    require(hashlib.sha256(data).hexdigest() == part["sha256"], f"{key} has another digest")
    _, format_, *compressed = name.removesuffix(".age").split(".")
    digest_key = part.get("digest_key")
    require(name.endswith(".age") == (digest_key is not None), f"{key} has a digest key, or none")
    if digest_key is not None:
        data = decrypted(data, identity)
    frames = unpacked(data) if compressed == ["zst"] else [data]
    plain = b"".join(frames)
    require(len(plain) == part["plain_bytes"], f"{key} has another plain size")
    digest = hashlib.sha256(plain) if digest_key is None else hmac.new(
        keys[digest_key], plain, "sha256"
    )  # fmt: skip
    require(digest.hexdigest() == part["plain_sha256"], f"{key} holds something else")
    require(all(frame.endswith(b"\n") for frame in frames if frame), "a row goes over two frames")
    require(format_ in ("ndjson", "csv"), f"{key} needs a library that reads Parquet")
    if format_ == "ndjson":
        rows = list(ndjson_rows(plain.decode(), [column["name"] for column in columns]))
    else:
        rows = list(csv_rows(plain.decode(), columns))
    require(len(rows) == part["rows"], f"{key} has another number of rows")
    for row in rows:
        for value, column in zip(row, columns, strict=True):
            require(type(value) in ENCODINGS[column["encoding"]], f"{key}: not of the encoding")
    return rows


# "Reading a backup, step by step"


def manifest_of(
    folder: Path, repository_id: str, backup_id: str, key: bytes | None
) -> tuple[dict[str, Any], str]:
    """The manifest, and its signature."""
    home = folder / "backups" / backup_id
    later = sorted(
        path for path in (home / "revisions").glob("*.json") if path.stem.isdigit()
    )  # no such folder: none
    path = later[-1] if later else home / "datapackage.json"
    data = path.read_bytes()
    content: dict[str, Any] = json.loads(data)["convault"]
    refuse_what_is_too_new(content)
    require(content["backup_id"] == backup_id, f"{path} is of another backup")
    require(content["repository_id"] == repository_id, f"{path} is of another repository")
    require(content.get("revision", 1) == (int(later[-1].stem) if later else 1), "wrong revision")
    signature = signature_of(data, key)
    first = signature_of((home / "datapackage.json").read_bytes(), key)
    return content, "wrong" if (first, signature) == ("signed", "unsigned") else signature


MASKED = {
    "null": re.compile("(?!)"),
    "hash": re.compile(r"[0-9a-f]{64}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
}


def check_masks(table: dict[str, Any], rows: list[Row]) -> None:
    """ "Left out and masked." """
    for n, column in enumerate(table["columns"]):
        if mask := column.get("mask"):
            for row in rows:
                value = row[n]
                fits = value is None or MASKED[mask].fullmatch(str(value))
                require(fits, f"{column['name']} is not masked")


def tables_of(folder: Path, manifest: dict[str, Any], identity: str | None) -> dict[str, Any]:
    found = {}
    keys = digest_keys(manifest, identity)
    for table in manifest["tables"]:
        rows = [
            row for part in table["parts"] for row in rows_of(folder, table, part, keys, identity)
        ]
        check_masks(table, rows)
        require(len(rows) == table["rows"], f"{table['name']} has another number of rows")
        found[".".join(table["name"])] = {
            "columns": [column["name"] for column in table["columns"]],
            "rows": rows,
        }
    own = [manifest["index"]] if manifest["index"] is not None else []
    for member in manifest["members"] + own + manifest.get("indexes", []):
        data = (folder / member["key"]).read_bytes()
        require(len(data) == member["bytes"], f"{member['key']} has another size")
        require(hashlib.sha256(data).hexdigest() == member["sha256"], f"{member['key']} is damaged")
        if member["key"].endswith(".age"):
            data = decrypted(data, identity)
        if ".parquet" in member["path"]:
            require(data[:4] == data[-4:] == b"PAR1", "the index is no Parquet")
    return found


def read(folder: Path, identity: str | None, key: bytes | None) -> dict[str, Any]:
    marker = json.loads((folder / "convault.json").read_bytes())
    refuse_what_is_too_new(marker)
    found = {}
    for path in sorted(folder.glob("backups/*/datapackage.json")):
        backup_id = path.parent.name
        manifest, signature = manifest_of(folder, marker["repository_id"], backup_id, key)
        tables = tables_of(folder, manifest, identity)
        found[backup_id] = {"signature": signature, "tables": tables}
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--identity")
    parser.add_argument("--signing-key", type=bytes.fromhex)
    given = parser.parse_args()
    json.dump(read(given.folder, given.identity, given.signing_key), sys.stdout)
