"""Parts that are damaged or missing: whether the source can still tell them, and putting them back;
then Storage files, which Storage may still have; then what lies beside manifests, which is made
from them and from the parts.

The one overwrite there is (`Repository.put_part`): the stored bytes are read and proven wrong
first, and kept under `damaged/`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from convault.errors import ConfigurationError, SourceError
from convault.models import BackupOptions
from convault.repository import Repository
from convault.sources.base import Source
from convault.verification.beside import made_again, origins_of
from convault.verification.findings import Finding, Repair
from convault.verification.holdings import Holdings, Needed, Place
from convault.verification.reading import examine
from convault.verification.rebuilding import rebuilt
from convault.verification.refetching import refetched

Sources = Callable[[BackupOptions], Source]
"""where the rows of such a backup come from"""

_Outcome = tuple[Repair, str]
"""and why"""


@dataclass(frozen=True, slots=True)
class Repairing:
    """How parts are put right."""

    repository: Repository
    sources: Sources
    part_bytes: int
    """plain bytes of a part at most, as backups have it"""
    put_back: bool
    """or only look whether it could be done"""

    def of(self, holdings: Holdings, findings: Sequence[Finding]) -> list[Finding]:
        """The findings, each with what can be done about it if it is of a part or of what lies
        beside a manifest; with `put_back` it is done.

        The source is asked for the ranges of these parts only, and not at all when there are none.
        One that cannot be asked repairs nothing, which is told; StoreError when the store fails.
        """
        done = {finding.key: finding for finding in findings}
        left = {
            finding.key: _ways(needed.places)
            for finding in findings
            if (needed := holdings.needed.get(finding.key)) and needed.places and finding.hurts
        }
        told: dict[str, _Outcome] = {}
        while left:
            wanted: dict[str, list[Place]] = defaultdict(list)
            for ways in left.values():
                wanted[_options(ways[0])].append(ways.pop(0))
            for places in wanted.values():
                for place, outcome in self._outcomes(holdings, places):
                    key = place.part.key
                    done_with = outcome[0] is not Repair.NOT_REPAIRABLE
                    told[key] = outcome if done_with else told.get(key, outcome)
                    if done_with or not left[key]:
                        del left[key]
        for key, (repair, reason) in told.items():
            done[key] = replace(done[key], repair=repair, reason=f"{done[key].reason}; {reason}")
        for key in [key for key in done if done[key].hurts]:
            if (needed := holdings.needed.get(key)) and needed.files:
                repair, reason = refetched(self.repository, needed, put_back=self.put_back)
                done[key] = replace(
                    done[key], repair=repair, reason=f"{done[key].reason}; {reason}"
                )
        # Last, because an index is made from parts, which may be whole again by now.
        origins = origins_of(holdings)
        for key in [key for key in done if key in origins and done[key].hurts]:
            data = made_again(self.repository, origins[key])
            needed = holdings.needed[key]
            repair, reason = self._put(needed, data, "the manifest tells what it held")
            done[key] = replace(done[key], repair=repair, reason=f"{done[key].reason}; {reason}")
        return list(done.values())

    def _outcomes(
        self, holdings: Holdings, places: Sequence[Place]
    ) -> list[tuple[Place, _Outcome]]:
        """Of parts that one snapshot can tell. One part at a time is in memory."""
        told: list[tuple[Place, _Outcome]] = []
        try:
            options = BackupOptions.parse(places[0].manifest.options)
            with self.sources(options).snapshot() as snapshot:
                for place in places:
                    data = rebuilt(snapshot, place, options, self.part_bytes)
                    needed = holdings.needed[place.part.key]
                    told.append((place, self._put(needed, data, "the source still holds its rows")))
        except (ConfigurationError, SourceError) as error:
            # What was made in it has proven itself by its digest, whatever became of the snapshot.
            why = f"the source could not be asked: {error.message}"
            told += [(place, (Repair.NOT_REPAIRABLE, why)) for place in places[len(told) :]]
        return told

    def _put(self, needed: Needed, data: bytes | str, why: str) -> _Outcome:
        """`data` are bytes with the digest that is needed, or why there are none."""
        if isinstance(data, str):
            return Repair.NOT_REPAIRABLE, data
        if not self.put_back:
            return Repair.REPAIRABLE, f"{why}: use --repair"
        self.repository.put_part(needed.key, needed.sha256, data)
        self.repository.store.flush()
        left = examine(self.repository.store, needed)
        if left is not None:
            return Repair.NOT_REPAIRABLE, f"it was put back, and then {left.reason}"
        return Repair.REPAIRED, f"it was put back, as {why}"


def _options(place: Place) -> str:
    return json.dumps(place.manifest.options, sort_keys=True)


def _ways(places: Sequence[Place]) -> list[Place]:
    """Where the part may be found again: once for each way in which backups that share it were
    asked for, the newest first. Where a filter selects other rows by now, a backup of all rows
    may still find those of the part."""
    found: dict[str, Place] = {}
    for place in sorted(places, key=lambda place: place.manifest.created_at, reverse=True):
        found.setdefault(_options(place), place)
    return list(found.values())
