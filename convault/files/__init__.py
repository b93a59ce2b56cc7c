"""Storage files: which ones rows point at, how they are copied, and how they are put back."""
