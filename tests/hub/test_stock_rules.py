"""Movements and FEFO as pure rules."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import RuleViolation
from hub.domain.stock import (
    BizStep,
    Disposition,
    LotOnHand,
    Movement,
    NotOnHand,
    Place,
    balance,
    correction,
    fefo_order,
    net_changes,
    pick,
)

T0 = datetime(2026, 11, 21, 1, 0, tzinfo=UTC)
GTIN = "06901234000016"


def movement(
    from_location: str | None, to_location: str | None, quantity: int = 1, *, key: str = "k", epc: str | None = None
) -> Movement:
    return Movement(
        key=key,
        gtin=GTIN,
        lot="A",
        quantity=quantity,
        from_location=from_location,
        to_location=to_location,
        biz_step=BizStep.STORING,
        disposition=Disposition.IN_PROGRESS,
        actor="person:li",
        event_time=T0,
        epc=epc,
    )


@pytest.mark.parametrize("quantity", [0, -1, 2**31])
def test_a_movement_of_no_possible_quantity_is_refused(quantity: int) -> None:
    with pytest.raises(RuleViolation, match="quantity"):
        movement(None, "shelf", quantity)


def test_a_movement_goes_from_one_place_to_another() -> None:
    with pytest.raises(RuleViolation, match="from one place to another"):
        movement("shelf", "shelf")
    with pytest.raises(RuleViolation, match="from one place to another"):
        movement(None, None)


def test_one_serial_moves_as_one_unit() -> None:
    with pytest.raises(RuleViolation, match="one unit with a serial"):
        movement(None, "shelf", 2, epc="urn:epc:id:sgtin:6901234.000001.7")


def test_an_event_time_without_a_zone_is_refused() -> None:
    with pytest.raises(RuleViolation, match="time zone"):
        Movement("k", GTIN, "A", 1, None, "shelf", BizStep.STORING, Disposition.IN_PROGRESS, "person:li", T0.replace(tzinfo=None))


def test_nothing_can_be_taken_from_where_nothing_is() -> None:
    with pytest.raises(NotOnHand, match=r"shelf holds 2 of .* 3 were asked for") as caught:
        balance([movement(None, "shelf", 2), movement("shelf", None, 3)])
    assert (caught.value.on_hand, caught.value.asked) == (2, 3)


def test_a_correction_takes_back_and_says_why() -> None:
    wrong = movement(None, "shelf", 5)
    right = correction(wrong, 0, key="k2", reason=" counted twice ", actor="person:wu", event_time=T0 + timedelta(hours=1))
    assert balance([wrong, right]) == {}
    assert (right.reason, right.actor, wrong.to_location) == ("counted twice", "person:wu", "shelf")


@given(st.integers(1, 1000), st.integers(0, 1000))
def test_after_a_correction_what_is_there_is_what_really_came(told: int, right: int) -> None:
    wrong = movement(None, "shelf", told)
    if right == told:
        with pytest.raises(RuleViolation, match="nothing to correct"):
            correction(wrong, right, key="k2", reason="r", actor="person:wu", event_time=T0)
        return
    made = correction(wrong, right, key="k2", reason="r", actor="person:wu", event_time=T0)
    assert sum(balance([wrong, made]).values()) == right


@pytest.mark.parametrize(
    ("right", "reason", "epc", "said"),
    [
        (0, "  ", None, "needs a reason"),
        (-1, "r", None, "cannot have moved"),
        (2, "r", "urn:epc:id:sgtin:6901234.000001.7", "only be taken back"),
    ],
)
def test_a_correction_that_makes_no_sense_is_refused(right: int, reason: str, epc: str | None, said: str) -> None:
    wrong = movement(None, "shelf", 1, epc=epc)
    with pytest.raises(RuleViolation, match=said):
        correction(wrong, right, key="k3", reason=reason, actor="person:wu", event_time=T0)


PLACES = st.sampled_from(["gate", "shelf", "fridge", None])


@given(st.lists(st.tuples(PLACES, PLACES, st.integers(1, 9)), max_size=30))
def test_what_came_in_less_what_left_is_what_is_there(steps: list[tuple[str | None, str | None, int]]) -> None:
    done: list[Movement] = []
    held: dict[Place, int] = {}
    for source, target, quantity in steps:
        if source == target:
            continue
        step = movement(source, target, quantity)
        try:
            held = balance([step], held)
        except NotOnHand:
            continue
        done.append(step)
    came = sum(each.quantity for each in done if each.from_location is None)
    left = sum(each.quantity for each in done if each.to_location is None)
    assert sum(held.values()) == came - left
    assert all(quantity > 0 for quantity in held.values())
    assert held == balance(done) == net_changes(done)


LOTS = st.lists(
    st.builds(
        LotOnHand,
        location=st.sampled_from(["a", "b"]),
        gtin=st.just(GTIN),
        lot=st.sampled_from("PQRS"),
        expiry=st.none() | st.dates(date(2026, 11, 18), date(2026, 11, 26)),
        quantity=st.integers(0, 5),
    ),
    max_size=8,
)
TODAY = date(2026, 11, 21)


@given(LOTS, st.integers(1, 20))
def test_fefo_never_skips_an_earlier_lot_that_is_in_date(lots: list[LotOnHand], quantity: int) -> None:
    good = sum(each.quantity for each in lots if each.expiry is None or each.expiry >= TODAY)
    if good < quantity:
        with pytest.raises(RuleViolation, match=f"{good} are on hand"):
            pick(lots, quantity, TODAY)
        return
    picked = pick(lots, quantity, TODAY)
    assert sum(taken for _, taken in picked) == quantity
    last = picked[-1][0].expiry or date.max
    for lot in fefo_order(lots, TODAY):
        if (lot.expiry or date.max) < last:
            assert (lot, lot.quantity) in picked
    assert all(lot.expiry is None or lot.expiry >= TODAY for lot, _ in picked)


def test_a_lot_may_leave_on_its_expiry_day_and_not_after() -> None:
    lot = LotOnHand("a", GTIN, "P", TODAY, 1)
    assert fefo_order([lot], TODAY) == [lot]
    assert fefo_order([lot], TODAY + timedelta(days=1)) == []
