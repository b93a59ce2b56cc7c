"""Telling somebody: through which channels, once of each incident, and a dead man's switch."""
