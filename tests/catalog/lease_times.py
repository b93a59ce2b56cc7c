"""How long the leases of these tests last: moments, where the product takes 90 s and 30 s."""

LEASE_SECONDS = 1.2
RENEW_SECONDS = 0.1
