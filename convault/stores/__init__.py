"""Where bytes live. `open_store` is the way in; `convault.stores.base` states the contract."""

from convault.stores.opening import open_store

__all__ = ["open_store"]
