"""SIGTERM in the middle of a commit."""

from __future__ import annotations

import os
import signal
import threading
from asyncio import CancelledError
from types import FrameType

import pytest

from convault.errors import ClusterUnavailable
from flows.stopping import finished_first, stop_behind


class Told(BaseException):
    """What Prefect's handler raises."""


@pytest.fixture(autouse=True)
def handled() -> object:
    def stop(number: int, frame: FrameType | None) -> None:
        raise Told

    before = signal.signal(signal.SIGTERM, stop)
    yield
    signal.signal(signal.SIGTERM, before)


def test_the_commit_is_finished() -> None:
    steps = []
    with finished_first():
        os.kill(os.getpid(), signal.SIGTERM)
        steps.append("manifest")
        steps.append("row")
    assert steps == ["manifest", "row"]
    with pytest.raises(Told):
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_commit_that_failed_is_not_tried_again() -> None:
    def commit() -> None:
        with finished_first():
            os.kill(os.getpid(), signal.SIGTERM)
            raise ValueError("the snapshot was lost")

    with pytest.raises(Told):
        commit()


def test_what_stumbled_over_being_stopped_is_a_stop() -> None:
    def caught() -> BaseException:
        try:
            try:
                try:
                    raise Told
                finally:
                    raise ValueError("Task run is not set")
            except ValueError as error:
                raise KeyError("x") from error
        except KeyError as error:
            return error

    assert isinstance(stop_behind(caught()), Told)
    alone = ValueError("x")
    assert stop_behind(alone) is None
    other = KeyError("y")
    alone.__cause__, other.__cause__ = other, alone
    assert stop_behind(alone) is None, "round and round"
    told = Told()
    assert stop_behind(told) is told


def test_what_was_dealt_with_is_no_stop() -> None:
    """So ends a connection to a cluster that is not made in time."""

    def connect() -> None:
        try:
            try:
                raise CancelledError
            except CancelledError as error:
                raise TimeoutError from error
        except TimeoutError:
            raise ClusterUnavailable("It cannot be reached.") from None

    with pytest.raises(ClusterUnavailable) as caught:
        connect()
    assert stop_behind(caught.value) is None


def test_an_error_of_its_own_passes() -> None:
    with pytest.raises(ValueError, match="x"), finished_first():
        raise ValueError("x")


def test_in_a_thread_it_does_nothing() -> None:
    done = []

    def work() -> None:
        with finished_first():
            done.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [before]
