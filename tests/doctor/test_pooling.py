"""A session that lasts, and one that does not."""

from __future__ import annotations

from convault.doctor.finding import State
from convault.doctor.pooling import Sessions, judge, watch
from tests.doctor.pooler import transaction_pooler


def test_a_real_server_keeps_sessions(database: str) -> None:
    seen = watch(database)
    assert seen == Sessions(shared=False, moved=False, forgot=False)
    assert judge("source session", seen).state is State.OK


def test_a_pooler_in_transaction_mode_is_found_by_what_it_does(database: str) -> None:
    with transaction_pooler(database) as url:
        seen = watch(url)
    assert seen.shared
    assert seen.moved
    assert seen.forgot
    found = judge("source session", seen)
    assert found.state is State.RED
    assert "5432 instead of 6543" in found.remedy
