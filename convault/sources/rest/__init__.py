"""Rows through a Supabase project's REST API (PostgREST), for those who have only its key."""

from convault.sources.rest.source import RestSource

__all__ = ["RestSource"]
