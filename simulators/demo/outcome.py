"""Ends a run and says what came of it."""

import asyncio
from typing import Final

from msgspec.structs import replace

from simulators.demo.supervisor import SIMULATE, Supervisor
from simulators.demo.tally import Summary, missing_parts, tally
from simulators.truth import read_truth

DRAIN_WAIT_S: Final = 20.0
"""Real seconds for the agents to hand over what they hold and for the hub to close what is open."""
LOOK_EVERY_S: Final = 0.5
QUIET_LOOKS: Final = 3
"""So many looks in a row must find the same before a count is believed."""


async def settle_and_count(supervisor: Supervisor) -> Summary:
    """Stops the simulated world, waits until the database holds what the world did, and counts.

    Ends as soon as nothing is missing and nothing changes any more; after DRAIN_WAIT_S it reports what it finds.
    """
    await supervisor.children[SIMULATE].stop()
    truth = await asyncio.to_thread(read_truth, supervisor.folder.truth)
    found = await tally(supervisor.database_uri, truth)
    same = 0
    try:
        async with asyncio.timeout(DRAIN_WAIT_S):
            while same < QUIET_LOOKS:
                await asyncio.sleep(LOOK_EVERY_S)
                supervisor.check()
                before, found = found, await tally(supervisor.database_uri, truth)
                same = same + 1 if found == before and not found.failures else 0
    except TimeoutError:
        unsteady = [] if found.failures else [f"the counts still changed {DRAIN_WAIT_S:g} s after the end"]
        found = replace(found, failures=found.failures + unsteady)
    if not truth.final:
        found = replace(found, failures=[*found.failures, "the simulators did not end in order: their last words are not final"])
    return replace(found, failures=found.failures + missing_parts(found))
