"""Sets of sequence numbers as closed ranges."""

from collections.abc import Iterable

Ranges = list[tuple[int, int]]


def ranges_of(numbers: Iterable[int]) -> Ranges:
    """The fewest closed ranges, ascending, that hold exactly these numbers."""
    found: Ranges = []
    for number in sorted(set(numbers)):
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def merged(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """The fewest closed ranges, ascending, that hold what all of these hold."""
    found: Ranges = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found


def multirange_text(ranges: Ranges) -> str:
    """Closed ranges as the text of a PostgreSQL int8multirange."""
    return "{" + ",".join([f"[{first},{last}]" for first, last in ranges]) + "}"
