"""Who asks, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """One thing that a caller may do."""

    LIST = "list"
    """see which backups there are"""
    DOWNLOAD = "download"
    OPERATE = "operate"
    """start backups, and what else changes no data"""
    RESTORE = "restore"
    DELETE = "delete"
    ADMIN = "admin"
    """all of them"""


EVERYTHING = frozenset(Scope)
ROLES = {
    "operator": frozenset({Scope.LIST, Scope.DOWNLOAD, Scope.OPERATE}),
    "admin": EVERYTHING,
}
"""What `app_metadata.convault_role` of a signed-in user allows."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody whose key or token was right."""

    name: str
    """of the key, or `user:` and the user's id; fit for a log"""
    scopes: frozenset[Scope]

    def may(self, scope: Scope) -> bool:
        """Whether this caller may do that."""
        return scope in self.scopes or Scope.ADMIN in self.scopes
