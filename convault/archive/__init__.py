"""The tar of a backup: composed while it streams, and taken apart without trusting it."""
