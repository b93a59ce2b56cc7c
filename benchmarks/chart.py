"""A bar chart as SVG, of seconds: full backups beside others, and what comes after them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_WIDTH, _LEFT, _ROW, _TOP = 760, 270, 22, 58
_OURS, _THEIRS, _CPU = "#2563eb", "#9ca3af", "#111827"


def drawn(told: Mapping[str, Any]) -> str:
    """The chart of `report.results`: a bar for each case that stores everything or what changed,
    as long as its median; a tick tells the CPU of all processes."""
    facts = told["facts"]
    rows = [(name, case["wall"], case["cpu"]) for name, case in told["cases"].items()]
    rows.sort(key=lambda row: -row[1])
    title = (
        f"{facts['messages']:,} messages, {facts['heap_bytes'] / 2**20:,.0f} MiB of heap, "
        f"Postgres {facts['postgres']}, {facts['cpus']} CPUs"
    )
    return _picture(title, rows)


def _picture(title: str, rows: Sequence[tuple[str, float, float]]) -> str:
    height = _TOP + _ROW * len(rows) + 14
    longest = max((max(wall, cpu) for _, wall, cpu in rows), default=1.0)
    scale = (_WIDTH - _LEFT - 70) / longest
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="12" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="12" y="22" font-size="14" fill="{_CPU}">{escape(title)}</text>',
        f'<text x="12" y="42" fill="{_CPU}">Seconds, median. Blue: Convault. Grey: others. '
        "Tick: CPU seconds of all processes.</text>",
    ]
    for number, (name, wall, cpu) in enumerate(rows):
        y = _TOP + number * _ROW
        ours = name.split()[0] in ("core", "flow", "restore", "verify", "download")
        parts += [
            f'<text x="{_LEFT - 8}" y="{y + 13}" text-anchor="end" fill="{_CPU}">'
            f"{escape(name)}</text>",
            f'<rect x="{_LEFT}" y="{y + 3}" width="{max(1.0, wall * scale):.1f}" '
            f'height="{_ROW - 8}" fill="{_OURS if ours else _THEIRS}"/>',
            f'<rect x="{_LEFT + cpu * scale:.1f}" y="{y + 1}" width="2" height="{_ROW - 4}" '
            f'fill="{_CPU}"/>',
            f'<text x="{_LEFT + max(wall, cpu) * scale + 8:.1f}" y="{y + 13}" fill="{_CPU}">'
            f"{wall:.1f}</text>",
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"
