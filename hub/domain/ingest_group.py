"""Messages of many agents as one group: decoded, judged, named and laid out in columns, ready for one transaction."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core import messages, topics
from core.errors import MessageRejected
from core.messages import AgentStatus, BarcodeScan, Batch, DeviceStatus, Item, Position, Readings, Series, StateChange, TagPassage
from core.topics import AgentAddress
from hub.domain.inbound import Inbound

GROUP_MAX_MESSAGES: Final = 4_000
GROUP_MAX_BYTES: Final = 2 * 1_048_576
FUTURE_LIMIT: Final = timedelta(minutes=10)
PAST_LIMIT: Final = timedelta(days=400)
TOPICS_REMEMBERED: Final = 10_000

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def epoch_us(moment: datetime) -> int:
    """An aware moment as whole microseconds since 1970-01-01T00:00Z."""
    return (moment - _EPOCH) // _MICROSECOND


DatedItem = TagPassage | BarcodeScan | Position | DeviceStatus | StateChange
"""Every item but readings: one fact at one time."""


class Life(NamedTuple):
    """One life of one agent's outbox."""

    site: str
    agent: str
    boot: str


class Envelope(NamedTuple):
    """A batch without its items, and the message it came in."""

    life: Life
    seq: int
    sent_at: datetime
    message: Inbound


class Fact(NamedTuple):
    """One item that is not a reading: `batch` indexes the group's envelopes, `item` the batch's items."""

    batch: int
    item: int
    value: DatedItem


class Rejection(NamedTuple):
    """Something that cannot be taken as a fact; `whole` when nothing of its batch was. `life` and `seq` may be unknown.

    `lasting` says that it holds facts that may be taken yet (then `life` and `seq` are known, and `payload` is a batch of
    them): they are set aside and never dropped. `item` is the place of a single fact in its batch; `size` counts the bytes
    of a message of which `payload` is only the beginning.
    """

    topic: str
    payload: bytes
    reason: str
    life: Life | None = None
    seq: int | None = None
    whole: bool = True
    item: int | None = None
    lasting: bool = False
    size: int | None = None


class Refused(NamedTuple):
    """What a rule says of a fact it cannot take: its place in the list the rule was given, and why."""

    place: int
    reason: str


class SeriesKey(NamedTuple):
    """What a series is called."""

    site: str
    device: str
    quantity: str


@dataclass(frozen=True, slots=True, eq=False)
class IngestGroup:
    """Everything one transaction takes.

    Readings are columns of one length: `slot` int32 indexes `series`, `at_us` int64, `value` float64, `batch` int32
    indexes `envelopes`. No (life, seq) stands twice in `envelopes`, nor whole in `rejections`. `asked_again`
    are batches that did.
    """

    messages: list[Inbound]
    envelopes: list[Envelope]
    series: list[SeriesKey]
    slot: NDArray[np.int32]
    at_us: NDArray[np.int64]
    value: NDArray[np.float64]
    batch: NDArray[np.int32]
    facts: list[Fact]
    statuses: dict[AgentAddress, AgentStatus]
    rejections: list[Rejection]
    asked_again: int


@lru_cache(maxsize=TOPICS_REMEMBERED)
def _parse_topic(topic: str) -> tuple[AgentAddress, topics.Channel]:
    return topics.parse(topic)


class GroupBuilder:
    """Collects messages until a transaction is free to take them. `now` is the scenario's moment at which each is judged."""

    def __init__(self) -> None:
        self._messages: list[Inbound] = []
        self._bytes = 0
        self._envelopes: list[Envelope] = []
        self._names: set[tuple[Life, int]] = set()
        self._refused: set[tuple[Life, int | None]] = set()
        self._slots: dict[tuple[str, Series], int] = {}
        self._which: list[int] = []
        self._at_us: list[int] = []
        self._values: list[float] = []
        self._columns: list[int] = []  # slot of each column of each Readings, one after the other
        self._first_column: list[int] = []  # of each Readings, its place in _columns
        self._lengths: list[int] = []  # of each Readings
        self._owners: list[int] = []  # of each Readings, its batch
        self._facts: list[Fact] = []
        self._statuses: dict[AgentAddress, AgentStatus] = {}
        self._rejections: list[Rejection] = []
        self._asked_again = 0

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def full(self) -> bool:
        """True when no more should be added."""
        return len(self._messages) >= GROUP_MAX_MESSAGES or self._bytes >= GROUP_MAX_BYTES

    def add_all(self, arrived: Iterable[Inbound], now: datetime) -> None:
        """Adds messages in order of arrival; a bad one becomes a rejection and disturbs no other."""
        oldest, newest = now - PAST_LIMIT, now + FUTURE_LIMIT
        for message in arrived:
            self._messages.append(message)
            self._bytes += len(message.payload)
            try:
                if message.problem is not None:
                    raise MessageRejected(message.problem)
                address, channel = _parse_topic(message.topic)
                if channel == "up":
                    self._add_batch(message, address, oldest, newest)
                elif channel == "status":
                    self._add_status(message, address)
                else:
                    raise MessageRejected(f"topic {message.topic!r}: only the hub speaks there")
            except MessageRejected as error:
                self._refuse(rejection_of(message, str(error)))

    def _refuse(self, rejection: Rejection) -> None:
        if rejection.life is not None:
            name = (rejection.life, rejection.seq)
            if name in self._refused:
                self._asked_again += 1
                return
            self._refused.add(name)
        self._rejections.append(rejection)

    def _add_status(self, message: Inbound, address: AgentAddress) -> None:
        if not message.payload:
            return  # a retained status was cleared
        status = messages.decode_status(message.payload)
        if status.agent != address.agent:
            raise MessageRejected(f"status of agent {status.agent!r} on the topic of {address.agent!r}")
        self._statuses[address] = status

    def _add_batch(self, message: Inbound, address: AgentAddress, oldest: datetime, newest: datetime) -> None:
        batch = messages.decode_batch(message.payload)
        if batch.agent != address.agent:
            raise MessageRejected(f"batch of agent {batch.agent!r} on the topic of {address.agent!r}")
        life = Life(address.site, batch.agent, batch.boot)
        name = (life, batch.seq)
        if name in self._names:
            self._asked_again += 1
            return
        for index, item in enumerate(batch.items):
            if type(item) is Readings:
                _check_columns(item, index)
        self._names.add(name)
        number = len(self._envelopes)
        self._envelopes.append(Envelope(life, batch.seq, batch.sent_at, message))
        for index, item in enumerate(batch.items):
            if isinstance(item, Readings):
                self._add_readings(item, address.site, number)
                continue
            problem = _untrue_time(item, oldest, newest)
            if problem is None:
                self._facts.append(Fact(number, index, item))
            else:
                self._rejections.append(set_aside(Envelope(life, batch.seq, batch.sent_at, message), item, index, problem))

    def _add_readings(self, item: Readings, site: str, number: int) -> None:
        slots = self._slots
        self._first_column.append(len(self._columns))
        self._columns.extend([slots.setdefault((site, series), len(slots)) for series in item.series])
        self._which.extend(item.which)
        self._at_us.extend(item.at_us)
        self._values.extend(item.values)
        self._lengths.append(len(item.which))
        self._owners.append(number)

    def finish(self, now: datetime) -> IngestGroup:
        """The group as it stands. The builder is used up."""
        lengths = np.array(self._lengths, dtype=np.int64)
        which = np.array(self._which, dtype=np.int64)
        columns = np.array(self._columns, dtype=np.int32)
        first_column = np.array(self._first_column, dtype=np.int64)
        slot = columns[which + np.repeat(first_column, lengths)]
        at_us = np.array(self._at_us, dtype=np.int64)
        value = np.array(self._values, dtype=np.float64)
        batch = np.repeat(np.array(self._owners, dtype=np.int32), lengths)
        series = [SeriesKey(site, each.device, each.quantity) for site, each in self._slots]
        credible = (at_us >= epoch_us(now - PAST_LIMIT)) & (at_us <= epoch_us(now + FUTURE_LIMIT))
        if not credible.all():
            self._set_aside(~credible, series, slot, at_us, value, batch, now=now)
            slot, at_us, value, batch = slot[credible], at_us[credible], value[credible], batch[credible]
        return IngestGroup(
            messages=self._messages,
            envelopes=self._envelopes,
            series=series,
            slot=slot,
            at_us=at_us,
            value=value,
            batch=batch,
            facts=self._facts,
            statuses=self._statuses,
            rejections=self._rejections,
            asked_again=self._asked_again,
        )

    def _set_aside(
        self,
        bad: NDArray[np.bool_],
        series: list[SeriesKey],
        slot: NDArray[np.int32],
        at_us: NDArray[np.int64],
        value: NDArray[np.float64],
        batch: NDArray[np.int32],
        *,
        now: datetime,
    ) -> None:
        """One rejection for each batch that holds readings of an untrue time, made of just these readings."""
        for number in np.unique(batch[bad]).tolist():
            mine = bad & (batch == number)
            envelope: Envelope = self._envelopes[number]
            used, which = np.unique(slot[mine], return_inverse=True)
            item = Readings(
                series=[Series(series[each].device, series[each].quantity) for each in used.tolist()],
                which=which.tolist(),
                at_us=at_us[mine].tolist(),
                values=value[mine].tolist(),
            )
            first = _EPOCH + timedelta(microseconds=item.at_us[0])
            reason = f"{len(item.which)} readings, the first of {first.isoformat()}: {_limits(now)}"
            self._rejections.append(set_aside(envelope, item, None, reason))


def rejection_of(message: Inbound, reason: str) -> Rejection:
    """A message refused whole, with as much of its name as can be read. The agent is the topic's, whatever the payload says."""
    try:
        address, channel = _parse_topic(message.topic)
        if channel != "up" or message.problem is not None:
            raise MessageRejected
        name = messages.decode_batch_name(message.payload)
    except MessageRejected:
        return Rejection(message.topic, message.payload, reason, size=message.size)
    return Rejection(message.topic, message.payload, reason, Life(address.site, address.agent, name.boot), name.seq)


def sender_of(rejection: Rejection) -> AgentAddress | None:
    """Whose topic it came in on, or None when that is none of ours."""
    if rejection.life is not None:
        return AgentAddress(rejection.life.site, rejection.life.agent)
    try:
        return _parse_topic(rejection.topic)[0]
    except MessageRejected:
        return None


def is_credible(moment: datetime, now: datetime) -> bool:
    """Whether a told time can be true: PAST_LIMIT before to FUTURE_LIMIT after the hub's clock."""
    return now - PAST_LIMIT <= moment <= now + FUTURE_LIMIT


def set_aside(envelope: Envelope, item: Item, index: int | None, reason: str) -> Rejection:
    """One item of a batch, refused alone. Where a device was or how it did is of the moment and may be dropped in time; what was
    measured, passed or scanned stays.
    """
    life = envelope.life
    alone = messages.encode(Batch(life.agent, life.boot, envelope.seq, envelope.sent_at, [item]))
    lasting = not isinstance(item, Position | DeviceStatus)
    reason = reason if index is None else f"items[{index}]: {reason}"
    return Rejection(envelope.message.topic, alone, reason, life, envelope.seq, whole=False, item=index, lasting=lasting)


def readable_rejection_of(message: Inbound, reason: str) -> Rejection:
    """A message that can be read and cannot be stored: its facts are set aside. One that cannot be read is rejected whole."""
    rejection = rejection_of(message, reason)
    if rejection.life is None:
        return rejection
    try:
        batch = messages.decode_batch(message.payload)
    except MessageRejected:
        return rejection
    return rejection._replace(lasting=batch.agent == rejection.life.agent)


def _check_columns(item: Readings, index: int) -> None:
    size = len(item.which)
    if size != len(item.at_us) or size != len(item.values):
        raise MessageRejected(
            f"items[{index}]: columns of unequal length: which {size}, at_us {len(item.at_us)}, values {len(item.values)}"
        )
    if size and max(item.which) >= len(item.series):
        raise MessageRejected(f"items[{index}]: which names series {max(item.which)}, but there are only {len(item.series)}")


def _limits(now: datetime) -> str:
    minutes = FUTURE_LIMIT.seconds // 60
    return f"only {PAST_LIMIT.days} days before to {minutes} minutes after the hub's clock ({now.isoformat()}) is taken"


def _untrue_time(
    item: TagPassage | BarcodeScan | Position | DeviceStatus | StateChange, oldest: datetime, newest: datetime
) -> str | None:
    """What is wrong with the item's time, or None."""
    if isinstance(item, TagPassage):
        if item.last_seen < item.first_seen:
            return f"last_seen {item.last_seen.isoformat()} is before first_seen {item.first_seen.isoformat()}"
        first, last = item.first_seen, item.last_seen
    else:
        first = last = item.at
    if first < oldest or last > newest:
        return f"{first.isoformat()} is not credible: {_limits(newest - FUTURE_LIMIT)}"
    return None
