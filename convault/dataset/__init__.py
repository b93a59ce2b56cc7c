"""Which tables, rows and columns a backup holds, and what it leaves out. Names in, names out."""
