"""URLs taken apart, whatever somebody wrote."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit


def split_url(url: str) -> SplitResult:
    """As `urlsplit`; of a URL that has no parts, such as `https://[::1`, only its scheme, so that
    whoever looks for a host finds none and says what is wanted."""
    try:
        return urlsplit(url)
    except ValueError:
        return SplitResult(url.partition(":")[0].lower(), "", "", "", "")
