"""Incidents on both kinds of catalog: once each, whoever notices and tells."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg

from convault.incidents import Kind, Notice
from tests.catalog.conftest import Kept

SHRUNK = Notice(
    Kind.SHRUNK, "public.mensagens \0", "messages shrank \ud800", "see", {"usual": 2.5, "of": ["é"]}
)
LATE = Notice(Kind.OVERDUE, "nightly", "nightly is late", "look")


def test_an_incident_begins_once_and_ends_once(kept: Kept) -> None:
    catalog = kept.catalog
    seen = catalog.now()
    assert catalog.open_incident(SHRUNK, seen) is True
    assert catalog.open_incident(SHRUNK, catalog.now()) is False
    assert catalog.open_incident(LATE, seen) is True
    [one] = [i for i in catalog.incidents() if i.kind == Kind.SHRUNK]
    assert (one.subject, one.title) == ("public.mensagens ", "messages shrank ?")
    assert one.facts == {"usual": 2.5, "of": ["é"]}
    assert one.is_open
    assert one.untold(seen)
    assert (one.told_to, one.attempts, one.problem, one.retry_at) == ((), 0, "", None)

    # Who looked before it began may not end it; who looked before it ended may not begin it again.
    assert catalog.close_incident(one.id, seen) is False
    assert catalog.close_incident(one.id, catalog.now()) is True
    assert catalog.close_incident(one.id, catalog.now()) is False
    assert catalog.open_incident(SHRUNK, seen) is False
    assert catalog.open_incident(SHRUNK, catalog.now()) is True
    assert [i.is_open for i in catalog.incidents()] == [True, True, False]
    assert len(catalog.incidents(limit=1)) == 1


def test_of_several_that_notice_and_tell_one_does(kept: Kept) -> None:
    catalog = kept.catalog
    seen = catalog.now()
    with ThreadPoolExecutor(4) as pool:
        begun = list(pool.map(lambda _: catalog.open_incident(LATE, seen), range(8)))
        [incident] = catalog.incidents()
        claimed = list(
            pool.map(
                lambda _: catalog.claim_incident(incident.id, recovery=False, seconds=3600),
                range(8),
            )
        )
    assert sorted(begun) == sorted(claimed) == [False] * 7 + [True]


def test_telling_is_claimed_tried_again_and_done(kept: Kept) -> None:
    catalog = kept.catalog
    catalog.open_incident(LATE, catalog.now())
    [begun] = catalog.incidents()

    def claim(*, recovery: bool, seconds: float = 3600) -> bool:
        return catalog.claim_incident(begun.id, recovery=recovery, seconds=seconds)

    assert claim(recovery=True) is False, "it is not over"
    assert claim(recovery=False, seconds=0) is True
    assert claim(recovery=False) is True, "who had claimed it died"
    before = catalog.now()
    catalog.told_incident(
        begun.id, recovery=False, told_to=("1 json",), done=False, problem="mailto", seconds=3600
    )
    [tried] = catalog.incidents()
    assert (tried.told_to, tried.attempts, tried.problem) == (("1 json",), 1, "mailto")
    assert tried.told_at is None
    assert tried.retry_at is not None
    assert tried.retry_at >= before + timedelta(hours=1)
    assert claim(recovery=False) is False, "too early"
    with psycopg.connect(kept.database_url) as connection:
        connection.execute("UPDATE public.backup_incidents SET retry_at = now()")
    assert claim(recovery=False) is True

    # It ends while somebody tells that it began: that is no word about its end.
    assert catalog.close_incident(begun.id, catalog.now()) is True
    assert claim(recovery=True) is True
    catalog.told_incident(begun.id, recovery=False, told_to=("1 json", "2 mailto"), done=True)
    [over] = catalog.incidents()
    assert over.told_at is not None
    assert over.recovery_told_at is None
    assert (over.told_to, over.attempts) == ((), 0)
    assert claim(recovery=True) is False, "it is claimed still"
    catalog.told_incident(begun.id, recovery=True, told_to=("1 json", "2 mailto"), done=True)
    [told] = catalog.incidents()
    assert told.recovery_told_at is not None
    assert not told.untold(catalog.now())
    assert claim(recovery=True) is False
