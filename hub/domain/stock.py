"""What a stock movement is, what movements add up to, and in which order lots leave."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from typing import Final, NamedTuple

from core.errors import RuleViolation

MAX_QUANTITY: Final = 2_147_483_647
"""What the ledger's integer column holds."""


class BizStep(StrEnum):
    """The steps of GS1's Core Business Vocabulary 2.0 that move stock here."""

    RECEIVING = "receiving"
    ACCEPTING = "accepting"
    STORING = "storing"
    STOCKING = "stocking"
    HOLDING = "holding"
    PICKING = "picking"
    PACKING = "packing"
    LOADING = "loading"
    SHIPPING = "shipping"
    UNLOADING = "unloading"
    DISPENSING = "dispensing"
    STOCK_TAKING = "stock_taking"
    CYCLE_COUNTING = "cycle_counting"
    DESTROYING = "destroying"


class Disposition(StrEnum):
    """What state goods are in afterwards, in words of the Core Business Vocabulary 2.0.

    The vocabulary has no word for quarantine: it is the step `holding` with the disposition `non_sellable_other`.
    """

    IN_PROGRESS = "in_progress"
    IN_TRANSIT = "in_transit"
    SELLABLE_ACCESSIBLE = "sellable_accessible"
    SELLABLE_NOT_ACCESSIBLE = "sellable_not_accessible"
    NON_SELLABLE_OTHER = "non_sellable_other"
    EXPIRED = "expired"
    RECALLED = "recalled"
    DAMAGED = "damaged"
    RESERVED = "reserved"
    DISPENSED = "dispensed"
    RETURNED = "returned"
    DESTROYED = "destroyed"
    UNKNOWN = "unknown"


class KeyReused(RuleViolation):
    """The same idempotency key came with other content."""


class NotOnHand(RuleViolation):
    """A movement takes more than is there.

    `location`, `gtin`, `lot` name the place in the ledger; `on_hand` and `asked` count units.
    """

    def __init__(self, place: "Place", *, on_hand: int, asked: int) -> None:
        super().__init__(
            f"{place.location} holds {on_hand} of {place.gtin} lot {place.lot}, {asked} were asked for: take no more than that"
        )
        self.location, self.gtin, self.lot = place
        self.on_hand = on_hand
        self.asked = asked


class Place(NamedTuple):
    """One sum of the ledger: a lot at a location. Sorts in the order in which sums are locked."""

    location: str
    gtin: str
    lot: str


@dataclass(frozen=True, slots=True)
class Movement:
    """`quantity` units of a lot go from one location to another; None is the world outside. Never changed once posted.

    `key` names the movement for ever: posting it again changes nothing. `epc` names the one unit that moves, if it is known.
    `actor` is `person:<name>`, `token:<name>` or `portal:<name>`. Raises RuleViolation when the values contradict themselves.
    """

    key: str
    gtin: str
    lot: str
    quantity: int
    from_location: str | None
    to_location: str | None
    biz_step: BizStep
    disposition: Disposition
    actor: str
    event_time: datetime
    epc: str | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        if not self.key or not self.actor:
            raise RuleViolation("a movement needs a key and an actor")
        if not 0 < self.quantity <= MAX_QUANTITY:
            raise RuleViolation(f"movement {self.key}: quantity {self.quantity} must be from 1 to {MAX_QUANTITY}")
        if self.from_location == self.to_location:
            raise RuleViolation(f"movement {self.key}: goods must go from one place to another, not from and to {self.to_location}")
        if self.event_time.tzinfo is None:
            raise RuleViolation(f"movement {self.key}: its event time names no time zone")
        if self.epc is not None and self.quantity != 1:
            raise RuleViolation(f"movement {self.key}: one unit with a serial cannot move as {self.quantity}")

    def changes(self) -> list[tuple[Place, int]]:
        """The sums it changes, and by how much."""
        ends = ((self.from_location, -self.quantity), (self.to_location, self.quantity))
        return [(Place(location, self.gtin, self.lot), change) for location, change in ends if location is not None]


def net_changes(movements: Iterable[Movement]) -> dict[Place, int]:
    """What the movements together change, sum by sum, zeros left out; in locking order."""
    total: dict[Place, int] = {}
    for movement in movements:
        for place, change in movement.changes():
            total[place] = total.get(place, 0) + change
    return {place: total[place] for place in sorted(total) if total[place]}


def balance(movements: Iterable[Movement], opening: Mapping[Place, int] | None = None) -> dict[Place, int]:
    """What is where after the movements, one by one in their order; sums of zero are left out.

    Raises NotOnHand when a movement takes from where not enough is.
    """
    held = dict(opening or {})
    for movement in movements:
        for place, change in movement.changes():
            before = held.get(place, 0)
            if before + change < 0:
                raise NotOnHand(place, on_hand=before, asked=-change)
            held[place] = before + change
    return {place: quantity for place, quantity in held.items() if quantity}


def correction(movement: Movement, right: int, *, key: str, reason: str, actor: str, event_time: datetime) -> Movement:
    """The movement after which a wrong one has moved `right` units instead of its own quantity; 0 when it never happened.

    Raises RuleViolation without a reason, when nothing would change, and for a unit with a serial that is not to be taken back.
    """
    if not reason.strip():
        raise RuleViolation(f"correcting movement {movement.key} needs a reason")
    if right < 0:
        raise RuleViolation(f"quantity: {right} units cannot have moved; give what really moved, or 0 if nothing did")
    if right == movement.quantity:
        raise RuleViolation(f"quantity: movement {movement.key} says {right} already: there is nothing to correct")
    if movement.epc is not None and right:
        raise RuleViolation(f"quantity: movement {movement.key} is of one unit with a serial; it can only be taken back, with 0")
    too_much = right < movement.quantity
    return replace(
        movement,
        key=key,
        quantity=abs(movement.quantity - right),
        from_location=movement.to_location if too_much else movement.from_location,
        to_location=movement.from_location if too_much else movement.to_location,
        reason=reason.strip(),
        actor=actor,
        event_time=event_time,
    )


@dataclass(frozen=True, slots=True)
class LotOnHand:
    """A lot at a place that could be picked. `expiry` is its last good day; None: it has none on record."""

    location: str
    gtin: str
    lot: str
    expiry: date | None
    quantity: int


def fefo_order(lots: Iterable[LotOnHand], on: date) -> list[LotOnHand]:
    """First expired, first out: the lots that may leave on a day, soonest expiry first.

    Expired lots may not leave; lots without an expiry come last; equals are ordered by lot and location, so that two people
    asking get the same answer. A lot is good up to and including its expiry day.
    """
    good = (lot for lot in lots if lot.quantity > 0 and (lot.expiry is None or lot.expiry >= on))
    return sorted(good, key=lambda each: (each.expiry or date.max, each.lot, each.location))


def pick(lots: Sequence[LotOnHand], quantity: int, on: date) -> list[tuple[LotOnHand, int]]:
    """How much to take of which lot, by FEFO, to make up a quantity. Raises RuleViolation when the good lots hold less."""
    picked: list[tuple[LotOnHand, int]] = []
    missing = quantity
    for lot in fefo_order(lots, on):
        if missing <= 0:
            break
        taken = min(lot.quantity, missing)
        picked.append((lot, taken))
        missing -= taken
    if missing > 0:
        raise RuleViolation(f"{quantity} were asked for, {quantity - missing} are on hand and in date")
    return picked
