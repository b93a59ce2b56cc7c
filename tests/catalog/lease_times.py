"""How long the leases of these tests last, where the product takes 90 s and 30 s."""

LASTING = 600.0
"""Of a lease that must not run out: over the Data API nothing else keeps it, however slow the
machine is."""
BRIEF = 1.2
"""Of one whose end is waited for."""
RENEW_SECONDS = 0.1
