"""Copies of the repository in other stores: what travels, how it is proven, what follows."""
