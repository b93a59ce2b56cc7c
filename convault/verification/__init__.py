"""Whether a repository holds what its backups need, and putting back what can be put back."""
