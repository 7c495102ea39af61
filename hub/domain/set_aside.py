"""Facts that were set aside, with their times put right."""

from datetime import timedelta
from typing import Final

import msgspec

from core.errors import MessageRejected
from core.messages import Batch, Item, Readings, TagPassage

_SECOND_US: Final = 1_000_000


def shifted(batch: Batch, shift_s: float) -> Batch:
    """The batch with `shift_s` seconds added to the time of every fact in it; when it was sent stays as it is.

    Raises MessageRejected when a time would leave the years 1 to 9999.
    """
    try:
        return msgspec.structs.replace(batch, items=[_shifted(item, shift_s) for item in batch.items])
    except OverflowError as error:
        raise MessageRejected(f"shifted by {shift_s:g} s, a time leaves the years 1 to 9999") from error


def _shifted(item: Item, shift_s: float) -> Item:
    if isinstance(item, Readings):
        shift_us = round(shift_s * _SECOND_US)
        return msgspec.structs.replace(item, at_us=[at_us + shift_us for at_us in item.at_us])
    shift = timedelta(seconds=shift_s)
    if isinstance(item, TagPassage):
        return msgspec.structs.replace(item, first_seen=item.first_seen + shift, last_seen=item.last_seen + shift)
    return msgspec.structs.replace(item, at=item.at + shift)
