"""How long a test waits for what must come."""

from __future__ import annotations

PATIENCE = 300.0
"""Seconds after which something hangs and is not merely slow: machines, and what else runs on them,
differ by ten times. No figure that a test asserts."""
