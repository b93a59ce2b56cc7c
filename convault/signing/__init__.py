"""Who wrote a manifest: its signature, and the key that makes it."""
