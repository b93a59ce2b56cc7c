"""Tables cut into ranges of heap pages: keys, digests, pieces, and which need no reading."""
