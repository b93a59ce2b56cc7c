"""Which backups stay, which go, and why; and how what nobody needs is removed."""
