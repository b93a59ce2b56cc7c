"""The `convault` command: a file per group of commands."""
