"""One restore, from the first look at the target to the commit: one transaction, or nothing."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import groupby
from operator import itemgetter
from typing import Any, Protocol
from uuid import UUID

import psycopg

from convault.ahead import ahead
from convault.encryption.age import Identity
from convault.encryption.objects import unlocked
from convault.errors import OptionsError
from convault.files.addresses import Address
from convault.formats.base import Rows
from convault.formats.copy_text import to_copy_text
from convault.loading import check_members, check_objects
from convault.manifest import Manifest, TableEntry
from convault.models import Column, Statement, TableName
from convault.progress import report
from convault.repository import Repository
from convault.restore import lacking, plain_role, renaming, target, users
from convault.restore.copying import Ready
from convault.restore.created import CreatedTables
from convault.restore.lacking import Lack
from convault.restore.live import LiveTables
from convault.restore.options import MissingUsers, Mode, RestoreOptions
from convault.restore.pieces import Piece, Role, Stored, decompress, deserialize, download
from convault.restore.pointed import PointedFiles
from convault.restore.result import Changes, RestoreResult
from convault.restore.script import script_of
from convault.restore.selection import Selection
from convault.restore.statements import Outcome
from convault.stores.base import Store

Confirm = Callable[[str], bool]
"""asks a question whose answer is yes or no"""

PutFiles = Callable[[frozenset[Address] | None], object]
"""puts files of the backup back: these, or with None all of them"""


def refused(question: str) -> bool:
    """Nobody is there to ask."""
    return False


class Tables(Protocol):
    """Where rows go: tables that are made, or live ones behind a staging area."""

    outcome: Outcome
    recomputed: dict[TableName, int]

    def prepare(self) -> None:
        """Be ready for rows; whatever can be refused without them is refused here."""

    def given(self, table: TableEntry) -> Sequence[Column]:
        """The columns of the table's rows that are loaded."""

    def load(self, piece: Piece, rows: Iterable[Rows | Ready]) -> int:
        """Take the rows of a piece; how many. Those that are `Ready` have the text of the columns
        `given`."""

    def place(self, table: TableEntry) -> str:
        """What holds the rows of a table of the backup that were loaded so far, for FROM."""

    def known(self, table: TableEntry) -> str:
        """What holds the rows that a reference to the table finds, for FROM."""


class Restoration:
    """A restore in steps: enter, `prepare`, for each of `pieces` download, decompress, deserialize
    and `load`, then `finish`; the transaction commits when the block ends.

    Memory is bounded by a few parts. On any error the target is as it was: IntegrityError names the
    object that is not what was stored, StoreError is the store's, RestoreError the target's,
    NotFoundError and OptionsError tell of a selection that finds nothing or cannot be.
    """

    def __init__(
        self,
        store: Store,
        manifest: Manifest,
        target_url: str,
        options: RestoreOptions | None = None,
        *,
        identities: Sequence[Identity] = (),
        trusted: bool = True,
        confirm: Confirm = refused,
    ) -> None:
        """`identities` open an encrypted backup. `trusted`: the archive's signature was right;
        otherwise it gets less of what a superuser could give it. `confirm` is asked before rows go
        that the backup does not hold. EncryptionError tells what is missing to read the rows."""
        self.options = options or RestoreOptions()
        self.options.check()
        self.store = store
        self.manifest = manifest
        # Tables that are kept for reading alone are neither made nor filled.
        self._restored = manifest.model_copy(update={"tables": tuple(manifest.restored)})
        self._target_url = target_url
        self._trusted = trusted
        self._confirm = confirm
        self._started = time.monotonic()
        self._stack = ExitStack()
        self._live = False
        self._script: list[Statement] = []
        self._owner: str | None = None
        self._lacking: tuple[Lack, ...] = ()
        self._redacted: tuple[Statement, ...] = ()
        self._loaded: dict[TableName, int] = defaultdict(int)
        self._done = 0
        self._connection: psycopg.Connection[Any]
        self._tables: CreatedTables | LiveTables
        self.opener = unlocked(manifest, identities)
        self._selection = Selection(store, self._restored, self.options, self.opener)
        self.pointed: PointedFiles | None = None
        if self.options.files and self.options.selects:
            self.pointed = PointedFiles(manifest)

    def __enter__(self) -> Restoration:
        self._selection.check()
        if self._selection.everything:
            check_objects(self.store, self.manifest)
            check_members(self.store, self.manifest)
        try:
            self._enter()
        except BaseException as error:
            self._stack.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._stack.__exit__(*error)

    def prepare(self) -> None:
        """Find out what the target is, refuse what cannot go well, and make room for the rows."""
        if self._live:
            self._tables = LiveTables(
                self._connection, self._restored, self._selection.tables, self.options,
                self._confirm,
            )  # fmt: skip
        else:
            self._tables = self._created()
        report("schema", "the target", done=0, total=None, unit="statements")
        self._tables.prepare()

    def pieces(self) -> Iterator[Piece]:
        """What to load, in this order. Which rows come along is only known when those that
        reference them are loaded, so load each before asking for the next."""
        yield from self._selection.pieces(self._connection, self._tables.place, self._tables.known)

    @property
    def known_before(self) -> bool:
        """Whether the pieces do not depend on what is loaded: the next may be asked for before."""
        return self._selection.everything

    def ready(self, piece: Piece, rows: Rows) -> Ready:
        """The rows with what COPY takes for them, for any thread to make before they are loaded."""
        columns = piece.table.columns
        return Ready(rows, to_copy_text(rows, columns, self._tables.given(piece.table)))

    def load(self, piece: Piece, rows: Iterable[Rows]) -> None:
        """Put the rows of a piece where they go."""
        if piece.role is Role.SURVEY:
            self._selection.survey(self._connection, piece, rows)
            return
        if self.pointed is not None:
            rows = self.pointed.watched(piece, rows)
        self._take(piece, rows)

    def load_ready(self, piece: Piece, texts: Iterable[Ready]) -> None:
        """The same where all rows are wanted, and their texts were made already."""
        self._take(piece, texts)

    def _take(self, piece: Piece, rows: Iterable[Rows | Ready]) -> None:
        name, total = str(piece.table.name), self._selection.rows
        report("load", name, done=self._done, total=total, unit="rows")
        taken = self._tables.load(piece, rows)
        self._loaded[piece.table.name] += taken
        self._done += taken
        report("load", name, done=self._done, total=total, unit="rows")

    def finish(self) -> RestoreResult:
        """What comes after the rows: checks, keys, and for live tables the rows themselves."""
        if isinstance(self._tables, CreatedTables):
            changes, counts, missing = self._finish_created(self._tables)
            restore_id: UUID | None = None
        else:
            with target.refusals("to change the rows"):
                missing = users.settle(
                    self._connection,
                    users.of_live(self._connection, self._tables),
                    self.options.missing_users or MissingUsers.STOP,
                )
                merged = self._tables.finish()
            changes, counts, restore_id = merged.changes, merged.rows, merged.restore_id
        with target.refusals("NOTIFY"):
            self._connection.execute("NOTIFY pgrst, 'reload schema'")
        return RestoreResult(
            rows=counts,
            seconds=time.monotonic() - self._started,
            left_out=tuple(self._tables.outcome.left_out),
            faults=tuple(self._tables.outcome.faults),
            redacted=self._redacted,
            recomputed=self._tables.recomputed,
            changes=changes,
            restore_id=restore_id,
            missing_users=missing,
            lacking=self._lacking,
            owner=self._owner,
            notes=self._selection.notes,
            dry_run=self.options.dry_run,
        )

    def _enter(self) -> None:
        """See whether the tables are there or are to be made, and begin as whoever may do that."""
        options, names = self.options, [table.name for table in self._restored.tables]
        with target.transaction(self._target_url, dry_run=True) as connection:
            self._live = options.into_schema is None and bool(
                target.tables_there(connection, names)
            )
            if not self._live:
                self._require_room(connection)
        url, role = self._target_url, None
        if self._live and options.owner is not None:
            raise OptionsError(
                "--owner is for tables that the restore makes, and the target has them already."
            )
        if not self._live:
            self._script = script_of(self._restored, data_only=options.data_only)
            if options.into_schema is not None:
                self._script = renaming.renamed(self._script, self._restored, options.into_schema)
                names = [TableName(options.into_schema, name.name) for name in names]
            found, keeper = self._stack.enter_context(
                plain_role.session_for(
                    url, self._restored, self._script, names,
                    owner=options.owner, trusted=self._trusted,
                    stubs=options.missing_users is MissingUsers.STUB,
                )
            )  # fmt: skip
            url, role = found.url, found.role
            self._owner = role
        self._connection = self._stack.enter_context(
            target.transaction(url, dry_run=options.dry_run, role=role)
        )
        if not self._live and keeper is not None:
            keeper.entered()

    def _require_room(self, connection: psycopg.Connection[Any]) -> None:
        options = self.options
        if options.mode is not Mode.FAIL:
            raise OptionsError(
                f"--mode {options.mode} is for tables that are there already, and the target has "
                "none of the backup's. Leave --mode out to have them made."
            )
        if options.into_schema is None:
            target.require_empty(connection)
        else:
            target.require_no_schema(connection, options.into_schema)

    def _created(self) -> CreatedTables:
        connection, options = self._connection, self.options
        with target.refusals("to say what it has"):
            script, self._lacking = lacking.provided(
                connection, self._script, tolerate=options.tolerate_constraints
            )
        self._redacted = tuple(s for s in script if s.redacted)
        return CreatedTables(
            connection, self._restored, script,
            schema=options.into_schema, tolerate=options.tolerate_constraints,
            plain=options.data_only,
        )  # fmt: skip

    def _finish_created(
        self, tables: CreatedTables
    ) -> tuple[dict[TableName, Changes], dict[TableName, int], dict[str, int]]:
        tables.check(everything=self._selection.everything)
        with target.refusals("to look for users"):
            missing = users.settle(
                self._connection,
                users.of_created(self._connection, self._restored, tables),
                # Tolerated, the constraint becomes NOT VALID, which only a new one can be.
                self.options.missing_users
                or (None if self.options.tolerate_constraints else MissingUsers.STOP),
            )
        counts = tables.counts() if missing else tables.counted  # nothing was changed since
        tables.finish()
        changes = {name: Changes(inserted=rows) for name, rows in counts.items()}
        return changes, counts, missing


def restore(
    repository: Repository,
    manifest: Manifest,
    target_url: str,
    options: RestoreOptions | None = None,
    *,
    tolerate: bool = False,
    identities: Sequence[Identity] = (),
    trusted: bool = True,
    confirm: Confirm = refused,
) -> RestoreResult:
    """All of a `Restoration` in this process; `tolerate` is short for `tolerate_constraints`."""
    wanted = options or RestoreOptions(tolerate_constraints=tolerate)
    return restore_from(
        repository.store, manifest, target_url, wanted,
        identities=identities, trusted=trusted, confirm=confirm,
    )  # fmt: skip


def restore_from(
    store: Store,
    manifest: Manifest,
    target_url: str,
    options: RestoreOptions,
    *,
    identities: Sequence[Identity] = (),
    trusted: bool = True,
    confirm: Confirm = refused,
    put_files: PutFiles | None = None,
) -> RestoreResult:
    """The same, from whatever holds the objects of the backup: a repository's store, a tar.
    `put_files` is called once where the options ask for files: with None for all of them, before
    anything else, or with those that the rows point at, when these are loaded."""
    options.check()
    if put_files is not None and options.files and not options.selects:
        put_files(None)
    with Restoration(
        store, manifest, target_url, options,
        identities=identities, trusted=trusted, confirm=confirm,
    ) as restoration:  # fmt: skip
        restoration.prepare()
        _carry(restoration)
        if put_files is not None and restoration.pointed is not None:
            put_files(restoration.pointed.files)
        return restoration.finish()


def _carry(restoration: Restoration) -> None:
    """Every piece into the target. While the server takes some rows, the text of the next ones is
    made, of the rows behind these their bytes, and the next part is read; where it is known which
    part that is, across their borders, since a part is often one text."""
    store, opener = restoration.store, restoration.opener
    parts = ((piece, download(store, piece, opener)) for piece in restoration.pieces())

    def rows(piece: Piece, stored: Stored) -> Iterator[Rows]:
        yield from deserialize(piece, decompress(piece, stored, opener))

    if not restoration.known_before:
        for piece, stored in parts:
            with closing(ahead(rows(piece, stored), "deserialize")) as found:
                restoration.load(piece, found)
        return

    def made() -> Generator[tuple[Piece, Rows | None], None, None]:
        with closing(ahead(parts, "download")) as read:
            for piece, stored in read:
                yield piece, None  # of which there may be no rows
                for some in rows(piece, stored):
                    yield piece, some

    def texts() -> Generator[tuple[Piece, Ready | None], None, None]:
        with closing(made()) as source, closing(ahead(source, "deserialize")) as all_rows:
            for piece, some in all_rows:
                yield piece, None if some is None else restoration.ready(piece, some)

    with closing(texts()) as source, closing(ahead(source, "text")) as all_texts:
        for piece, group in groupby(all_texts, key=itemgetter(0)):
            restoration.load_ready(piece, (some for _, some in group if some is not None))
