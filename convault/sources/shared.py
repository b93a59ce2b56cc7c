"""Reading in a snapshot that another process exported, on connections of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pyarrow as pa

from convault.dataset.belonging import belonging
from convault.dataset.masking import MaskKey
from convault.errors import ConfigurationError, LockNotAvailable, SnapshotLost
from convault.models import Range
from convault.ranges import tids
from convault.sources.base import Shared
from convault.sources.failures import translated
from convault.sources.readers import Readers
from convault.sources.session import connect, connection_string
from convault.sources.users import referenced


class SharedSnapshot:
    """Implements `sources.base.Rows`. Threads may share it; `close` when all is read."""

    def __init__(
        self, url: str, shared: Shared, *, lock_timeout: float, mask_key: MaskKey | None
    ) -> None:
        """`url`: of the same database, by this process's own settings. ConfigurationError when it
        is another one, or `mask_key` another key; SourceUnavailable."""
        own = None if mask_key is None else mask_key.fingerprint()
        if shared.mask_key is not None and own != shared.mask_key:
            raise ConfigurationError(
                "CONVAULT_MASK_KEY of this worker is not the one of the run: masks would differ "
                "from row to row. Give every worker the same settings."
            )
        require_same_server(url, shared)
        self.dataset = shared.dataset
        self._selected = shared.selected
        self._readers = Readers(
            connection_string(url, options=shared.options),
            shared.dataset.tables,
            snapshot=shared.facts.snapshot,
            server_version=shared.server_version,
            lock_timeout=lock_timeout,
            # Whether the exporter lives is seen when the snapshot is imported again.
            check_exporter=lambda: None,
            mask_key=mask_key if shared.mask_key is not None else None,
        )
        try:
            self._readers.open(1)
        except LockNotAvailable:
            # Who waits for the table waits for the run, too, and would for ever.
            raise SnapshotLost(
                "Somebody waits to change a table that is being backed up, and keeps new readers "
                "out. The backup must start again under a new snapshot."
            ) from None

    def read(self, range_: Range, *, skip_rows: int = 0) -> Iterator[pa.RecordBatch]:
        """See `sources.base.Snapshot.read`."""
        table = self.dataset.table(range_.table)
        belongs = belonging(self.dataset, range_.table)
        extra = None if belongs is None else belongs.expression
        rows = condition = None
        if self._selected is not None:
            rows = tids.from_bytes(self._selected[range_])
        elif table.reference_only:
            condition = referenced(self.dataset, table)
        return self._readers.read(table, range_, skip_rows, extra, rows, condition)

    def close(self) -> None:
        """Let the connections go, and with them the snapshot and the locks."""
        self._readers.close()


def require_same_server(url: str, shared: Shared) -> None:
    """ConfigurationError unless `url` leads to the database and the server process that exported
    the snapshot; a standby is another."""
    with closing(connect(url)) as connection, translated():
        row = connection.execute(
            "SELECT oid, pg_catalog.pg_postmaster_start_time() FROM pg_catalog.pg_database"
            " WHERE datname = pg_catalog.current_database()"
        ).fetchone()
    assert row is not None
    if (row[0], row[1].isoformat()) != (shared.facts.database_oid, shared.facts.started_at):
        raise ConfigurationError(
            "DATABASE_URL of this worker leads to another server or database than the run's, and a "
            "snapshot can only be read where it was taken. Give every worker the same settings."
        )
