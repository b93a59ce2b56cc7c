"""Only Convault's own errors leave a task, alone and without a value."""

from __future__ import annotations

import pickle
import traceback

import polars as pl
import pytest

from convault.errors import ConvaultError, StoreUnavailable
from tasks.boundary import contained, unexpected

SECRET = "ana@example.org"


def shown(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


@contained
def look_up(values: dict[str, int]) -> int:
    return values[SECRET + ""]


@contained
def translated_badly() -> None:
    try:
        look_up.__wrapped__({})  # type: ignore[attr-defined]
    except KeyError as error:
        raise StoreUnavailable("The store is busy.", key="k") from error


@contained
def panicking() -> None:
    # Polars panics on binary in NDJSON; the panic is no Exception.
    pl.DataFrame({"a": [SECRET.encode()]}).write_ndjson()


def test_an_unforeseen_error_becomes_its_class_and_its_place() -> None:
    with pytest.raises(ConvaultError) as caught:
        look_up({})
    assert "KeyError" in caught.value.message
    assert "flows/test_boundary.py:" in caught.value.message
    assert SECRET not in shown(caught.value)
    assert caught.value.__context__ is None
    assert caught.value.transient is False


def test_an_error_of_convaults_own_passes_but_what_caused_it_does_not() -> None:
    with pytest.raises(StoreUnavailable) as caught:
        translated_badly()
    assert caught.value.message == "The store is busy."
    assert caught.value.ids == {"key": "k"}
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert SECRET not in shown(caught.value)


def test_a_panic_of_a_rust_library_is_an_error_like_any_other(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ConvaultError, match="PanicException") as caught:
        panicking()
    assert SECRET not in shown(caught.value)
    capfd.readouterr()


def test_an_interrupt_is_no_error() -> None:
    @contained
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()


def test_the_place_of_an_error_without_a_traceback_is_unknown() -> None:
    assert "an unknown place" in unexpected(ValueError(SECRET)).message
    assert SECRET not in unexpected(ValueError(SECRET)).message


def test_it_travels_between_processes() -> None:
    error = pickle.loads(pickle.dumps(unexpected(ValueError(SECRET))))
    assert type(error) is ConvaultError
