"""A store in a bucket of Supabase Storage, spoken to by its own protocol."""

from convault.stores.supabase.opening import open_supabase

__all__ = ["open_supabase"]
