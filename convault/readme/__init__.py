"""README.txt, which lies beside every backup and tells whoever finds it how to open it."""
