"""Access logs without query strings: they hold the tokens of download links."""

from __future__ import annotations

import logging

_NAME = "uvicorn.access"
_PATH = 2
"""place of the path in what uvicorn logs: client, method, path, version, status"""


class WithoutQuery(logging.Filter):
    """Cuts off what follows `?`."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always true: every request is logged."""
        values = record.args
        if isinstance(values, tuple) and len(values) > _PATH:
            path = str(values[_PATH]).partition("?")[0]
            record.args = (*values[:_PATH], path, *values[_PATH + 1 :])
        return True


def hide_queries() -> None:
    """Have uvicorn log paths alone; may be repeated."""
    logger = logging.getLogger(_NAME)
    if not any(isinstance(present, WithoutQuery) for present in logger.filters):
        logger.addFilter(WithoutQuery())
