"""How many reads of a tag become one fact: it passed the portal, in or out, with these others, and how surely.

A track follows one EPC at one portal. It ends when the tag has not been read for `absent_after_s` (or when it has stood there for
MAX_DWELL_S, so that a pallet parked in a gate is logged too); then it gives one passage, or none when it was a stray. Times
come in with the reads and ticks; the outcome depends on them alone, not on how the reads were cut into pieces.
When the clock is set, `step` moves everything remembered along with it: no track ends or stands still for that.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from core.messages import Direction, TagPassage
from edge.drivers.observations import TagRead

MAX_DWELL_S: Final = 300.0
"""A tag that stands at a portal is reported after so long, and not again until it has been away."""
RESUME_WITHIN_S: Final = 3600.0
"""Tracks no older than this at a restart go on: the time without an agent does not count as absence."""
MAX_TRACKS: Final = 20_000
"""Tags followed at one portal at a time; above it the one unseen for longest is ended early."""
MAX_REMEMBERED: Final = 20_000
"""Ended tracks remembered at one portal, so that a read that comes late does not make a second passage.

Kept in memory only: reads are stamped as they come, so none that comes after a restart is of before it; and ends remembered
from a clock that then went back over the restart would swallow true passages.
"""
RSSI_HALVING_DB: Final = 6.0

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class PortalRule:
    """How a portal judges its reads. Durations in scenario seconds, RSSI in dBm, antennas by number."""

    name: str
    absent_after_s: float = 2.0
    min_reads: int = 2
    min_rssi_dbm: float | None = None
    inside_antennas: frozenset[int] = frozenset()
    outside_antennas: frozenset[int] = frozenset()
    default_direction: Direction = "none"


class Track(msgspec.Struct, array_like=True):
    """What is known of one tag at one portal. Times in microseconds since the epoch; sums serve the mean read time of a side."""

    portal: str
    epc: str
    group: str
    first_us: int
    last_us: int
    alive_us: int
    reads: int = 0
    peak_rssi_dbm: float | None = None
    inside: int = 0
    inside_sum_us: int = 0
    outside: int = 0
    outside_sum_us: int = 0
    reported: bool = False


AbsenceRule = Callable[[Track, PortalRule], int]
"""The moment (microseconds) after which a track without a further read has ended."""


def fixed_window(track: Track, rule: PortalRule) -> int:
    """The same window for every tag: `absent_after_s` after the last sign of life."""
    return track.alive_us + round(rule.absent_after_s * 1e6)


@dataclass(frozen=True, slots=True)
class Changes:
    """Tracks that changed since the last asking, as rows to keep, and the (portal, epc) of those that are gone."""

    kept: list[tuple[str, str, bytes]] = field(default_factory=list)
    gone: list[tuple[str, str]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.kept or self.gone)


@dataclass(slots=True)
class _Portal:
    rule: PortalRule
    tracks: OrderedDict[str, Track] = field(default_factory=OrderedDict)
    standing: OrderedDict[str, int] = field(default_factory=OrderedDict)  # unreported tracks by when they began
    ended: OrderedDict[str, int] = field(default_factory=OrderedDict)
    group: str = ""
    group_until_us: int = -1


class Presence:
    """All portals of one agent. Not thread-safe: one owner offers reads and ticks."""

    def __init__(self, rules: Iterable[PortalRule], *, absence: AbsenceRule = fixed_window) -> None:
        self.counts: Counter[str] = Counter()
        self._absence = absence
        self._portals = {rule.name: _Portal(rule) for rule in rules}
        self._dirty: set[tuple[str, str]] = set()

    def offer(self, portal: str, read: TagRead) -> list[TagPassage]:
        """Takes one read; returns the passages that its time brings to an end. Raises KeyError for an unknown portal."""
        place = self._portals[portal]
        at = to_us(read.read_at)
        passages = self._end_absent(place, at)
        track = place.tracks.get(read.epc)
        if self._is_late(place, track, read.epc, at):
            self.counts["late_reads"] += 1
            return passages
        if track is None:
            track = self._begin(place, read.epc, at)
            if len(place.tracks) > MAX_TRACKS:
                self.counts["tracks_ended_early"] += 1
                passages += self._end(place, next(iter(place.tracks.values())))
        self._count(track, place.rule, read, at)
        self._dirty.add((portal, read.epc))
        return passages

    def tick(self, now: datetime) -> list[TagPassage]:
        """The passages of tags that are absent by now."""
        at = to_us(now)
        return [passage for place in self._portals.values() for passage in self._end_absent(place, at)]

    def step(self, by: timedelta) -> None:
        """The clock was set on by so much (back: negative). What is open goes on, and is told in the time of the new clock."""
        by_us = by // _MICROSECOND
        for place in self._portals.values():
            for track in place.tracks.values():
                _move(track, by_us)
                self._dirty.add((track.portal, track.epc))
            place.standing = OrderedDict((epc, us + by_us) for epc, us in place.standing.items())
            place.ended = OrderedDict((epc, us + by_us) for epc, us in place.ended.items())
            place.group_until_us += by_us

    def open_tracks(self) -> int:
        """How many tags are followed."""
        return sum(len(place.tracks) for place in self._portals.values())

    def changes(self) -> Changes:
        """What a store must keep and forget to hold the same tracks; asking clears it."""
        found = Changes()
        for portal, epc in self._dirty:
            place = self._portals.get(portal)
            track = place.tracks.get(epc) if place is not None else None
            if track is None:
                found.gone.append((portal, epc))
            else:
                found.kept.append((portal, epc, msgspec.json.encode(track)))
        self._dirty.clear()
        return found

    def snapshot(self) -> list[bytes]:
        """Every open track, for `restore`."""
        return [msgspec.json.encode(track) for place in self._portals.values() for track in place.tracks.values()]

    def restore(self, rows: Iterable[bytes], now: datetime) -> None:
        """Goes on with the tracks of an earlier life. Those of portals that are no longer set up are forgotten, and counted.

        A track from after `now` was kept by a clock that has gone back since: it goes on as if it was last read now.
        """
        at = to_us(now)
        standing: list[Track] = []
        for track in sorted((msgspec.json.decode(row, type=Track) for row in rows), key=lambda each: each.alive_us):
            self._dirty.add((track.portal, track.epc))
            place = self._portals.get(track.portal)
            if place is None:
                self.counts["tracks_of_unknown_portal"] += 1
                continue
            if track.alive_us > at:
                _move(track, at - track.alive_us)
            elif at - track.alive_us <= RESUME_WITHIN_S * 1e6:
                track.alive_us = at
            place.tracks[track.epc] = track
            if not track.reported:
                standing.append(track)
                place.group, place.group_until_us = track.group, max(place.group_until_us, self._absence(track, place.rule))
        for track in sorted(standing, key=lambda each: each.first_us):
            self._portals[track.portal].standing[track.epc] = track.first_us

    def _is_late(self, place: _Portal, track: Track | None, epc: str, at: int) -> bool:
        window = round(place.rule.absent_after_s * 1e6)
        ended = place.ended.get(epc)
        if ended is not None and at <= ended + window:
            return True
        return track is not None and at < track.first_us - window

    def _begin(self, place: _Portal, epc: str, at: int) -> Track:
        if at > place.group_until_us:
            place.group = f"{place.rule.name[:40]}-{at:x}"
        track = Track(place.rule.name, epc, place.group, at, at, at)
        place.tracks[epc] = track
        place.standing[epc] = at
        return track

    def _count(self, track: Track, rule: PortalRule, read: TagRead, at: int) -> None:
        place = self._portals[track.portal]
        track.first_us = min(track.first_us, at)
        if at >= track.last_us:
            track.last_us = at
            track.alive_us = max(track.alive_us, at)
            place.tracks.move_to_end(track.epc)
        if not track.reported:
            place.group_until_us = max(place.group_until_us, self._absence(track, rule))
        track.reads += 1
        if read.rssi_dbm is not None and (track.peak_rssi_dbm is None or read.rssi_dbm > track.peak_rssi_dbm):
            track.peak_rssi_dbm = read.rssi_dbm
        if read.antenna in rule.inside_antennas:
            track.inside += 1
            track.inside_sum_us += at
        elif read.antenna in rule.outside_antennas:
            track.outside += 1
            track.outside_sum_us += at

    def _end_absent(self, place: _Portal, at: int) -> list[TagPassage]:
        passages: list[TagPassage] = []
        while place.tracks:
            track = next(iter(place.tracks.values()))
            if self._absence(track, place.rule) >= at:
                break
            passages += self._end(place, track)
        while place.standing:
            epc, began_us = next(iter(place.standing.items()))
            if at - began_us <= MAX_DWELL_S * 1e6:
                break
            del place.standing[epc]
            place.tracks[epc].reported = True
            self._dirty.add((place.rule.name, epc))
            passages += self._judge(place.tracks[epc], place.rule)
        return passages

    def _end(self, place: _Portal, track: Track) -> list[TagPassage]:
        del place.tracks[track.epc]
        place.standing.pop(track.epc, None)
        self._dirty.add((track.portal, track.epc))
        place.ended[track.epc] = track.last_us
        place.ended.move_to_end(track.epc)
        if len(place.ended) > MAX_REMEMBERED:
            place.ended.popitem(last=False)
        return [] if track.reported else self._judge(track, place.rule)

    def _judge(self, track: Track, rule: PortalRule) -> list[TagPassage]:
        if is_stray(track, rule):
            self.counts["strays"] += 1
            return []
        direction, certainty = direction_of(track, rule)
        passage = TagPassage(
            portal=track.portal,
            epc=track.epc,
            direction=direction,
            first_seen=from_us(track.first_us),
            last_seen=from_us(track.last_us),
            reads=track.reads,
            peak_rssi_dbm=track.peak_rssi_dbm,
            confidence=confidence_of(track, rule, certainty),
            group=track.group,
        )
        return [passage]


def _move(track: Track, by_us: int) -> None:
    track.first_us += by_us
    track.last_us += by_us
    track.alive_us += by_us
    track.inside_sum_us += by_us * track.inside
    track.outside_sum_us += by_us * track.outside


def is_stray(track: Track, rule: PortalRule) -> bool:
    """True for a tag read too rarely, or never strongly enough, to have passed. A reader that tells no RSSI is not held to it."""
    too_weak = rule.min_rssi_dbm is not None and track.peak_rssi_dbm is not None and track.peak_rssi_dbm < rule.min_rssi_dbm
    return track.reads < rule.min_reads or too_weak


def direction_of(track: Track, rule: PortalRule) -> tuple[Direction, float]:
    """Which way, and how certain (0.5 to 1).

    With antennas on both sides: read on average earlier outside than inside means "in". The certainty grows with the distance
    of the two averages in the time the tag was there. Read on one side only, it has the default direction, half certain.
    """
    if not (rule.inside_antennas and rule.outside_antennas):
        return rule.default_direction, 1.0
    if not (track.inside and track.outside):
        return rule.default_direction, 0.5
    gap_us = track.inside_sum_us / track.inside - track.outside_sum_us / track.outside
    if gap_us == 0:
        return rule.default_direction, 0.5
    spread = abs(gap_us) / max(track.last_us - track.first_us, 1)
    return ("in" if gap_us > 0 else "out"), 0.5 + 0.5 * min(1.0, 2 * spread)


def confidence_of(track: Track, rule: PortalRule, certainty: float) -> float:
    """How sure a passage is, 0 to 1: `(1 - 2^(-reads/min_reads)) * (1 - 2^(-1 - margin/6 dB)) * certainty`.

    Half for just enough reads, half for a peak just at `min_rssi_dbm` (1 where no limit or no RSSI is known), times the
    certainty of the direction. A rule of thumb, our own; compare passages of one portal with it, not portals.
    """
    by_reads = 1 - 0.5 ** (track.reads / rule.min_reads)
    by_rssi = 1.0
    if rule.min_rssi_dbm is not None and track.peak_rssi_dbm is not None:
        by_rssi = 1 - 0.5 ** (1 + (track.peak_rssi_dbm - rule.min_rssi_dbm) / RSSI_HALVING_DB)
    return round(float(by_reads * by_rssi * certainty), 3)


def to_us(moment: datetime) -> int:
    """Microseconds since 1970 UTC, exact."""
    return (moment - EPOCH) // _MICROSECOND


def from_us(us: int) -> datetime:
    """The moment of `to_us`, in UTC."""
    return EPOCH + timedelta(microseconds=us)
