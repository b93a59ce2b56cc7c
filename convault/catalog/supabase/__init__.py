"""The catalog over a Supabase project's Data API (PostgREST), for those who have only its URL and
service key."""

from convault.catalog.supabase.catalog import SupabaseCatalog

__all__ = ["SupabaseCatalog"]
