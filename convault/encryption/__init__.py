"""Backups that only a holder of an identity reads: age, its keys, writing anew for others."""
