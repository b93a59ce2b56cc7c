"""What may leave a task or a flow: an error of Convault's own, alone.

Prefect logs the traceback of whatever leaves a task, with every error chained to it, and keeps the
message. A driver's error may quote a row (Postgres DETAIL), and so may any error that nobody
thought of (`KeyError: 'ana@example.org'`); so nothing but ConvaultError passes, and nothing is
chained to it.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from convault.errors import ConvaultError

P = ParamSpec("P")
R = TypeVar("R")

_CHECKOUT = Path(__file__).resolve().parent.parent


def contained(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, raising ConvaultError only, with no cause and no context."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except ConvaultError as error:
            failure = error
        except Exception as error:  # noqa: BLE001  whatever it is, it must not get out
            failure = unexpected(error)
        except BaseException as error:
            # Polars and obstore are Rust: where they panic, this is what arrives in Python.
            if type(error).__module__ != "pyo3_runtime":
                raise
            failure = unexpected(error)
        # Out of the handlers, or Python would chain what was just caught.
        failure.__cause__ = failure.__context__ = None
        raise failure

    return call


def unexpected(error: BaseException) -> ConvaultError:
    """What may be told of an error that nobody foresaw: its class and where it came up."""
    return ConvaultError(
        f"An unexpected {type(error).__name__} came up in {_place(error)}. That is a fault in "
        "Convault; its own text is not shown because it might quote a row. Nothing that was stored "
        "before is touched. Please report the line above."
    )


def _place(error: BaseException) -> str:
    """The innermost line of this checkout, and the innermost line of all."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return "an unknown place"
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(_CHECKOUT)]
    own = [frame for frame in own if "site-packages" not in frame.filename]
    places = [frames[-1]] if not own or own[-1] is frames[-1] else [own[-1], frames[-1]]
    return ", ".join(
        f"{'/'.join(Path(frame.filename).parts[-2:])}:{frame.lineno} ({frame.name})"
        for frame in places
    )
