"""kill -9 of each part in the middle of the story: after it is started again, nothing is lost and nothing doubled."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from simulators.demo.outcome import settle_and_count
from simulators.demo.supervisor import Supervisor, supervise
from simulators.demo.tally import Summary
from simulators.truth import read_truth

pytestmark = [pytest.mark.processes, pytest.mark.xdist_group("scenarios")]

STORY_MIN = 20.0


class Shift:
    """A short shift with everything running."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.supervisor = supervisor

    async def until(self, minute: float) -> None:
        """Waits for a minute of the story, while nothing dies that should not."""
        scale = self.supervisor.scale
        left_s = (scale.real_origin - datetime.now(UTC)).total_seconds() + scale.real_seconds(minute * 60)
        try:
            async with asyncio.timeout(max(0.0, left_s)):
                await self.supervisor.watch()
        except TimeoutError:
            return

    async def power_cut(self, name: str, minutes: float) -> None:
        """kill -9, darkness for so many minutes of the story, and the same command again."""
        child = self.supervisor.children[name]
        assert child.process is not None
        before = child.process.pid
        await child.kill()
        now = self.supervisor.scale.at(datetime.now(UTC)) - self.supervisor.scale.story_origin
        await self.until(now.total_seconds() / 60 + minutes)
        await child.start()
        assert child.process.pid != before

    async def end(self) -> Summary:
        """Lets the story end and counts."""
        await self.until(STORY_MIN)
        return await settle_and_count(self.supervisor)


@pytest.fixture
async def shift() -> AsyncIterator[Shift]:
    """The scenario `short-shift`, started."""
    supervisor = supervise("short-shift")
    try:
        await supervisor.start()
        yield Shift(supervisor)
    finally:
        await supervisor.stop()


async def test_a_killed_hub_loses_and_doubles_nothing(shift: Shift) -> None:
    await shift.until(6.9)
    await shift.power_cut("hub", 2.5)
    summary = await shift.end()
    assert summary.failures == []
    assert (summary.readings_lost, summary.readings_doubled, summary.ledger_balanced) == (0, 0, True)
    assert summary.receipts_posted == 3


async def test_a_killed_broker_loses_and_doubles_nothing(shift: Shift) -> None:
    await shift.until(6.9)
    await shift.power_cut("broker", 2.5)
    summary = await shift.end()
    assert summary.failures == []
    assert (summary.readings_lost, summary.readings_doubled, summary.ledger_balanced) == (0, 0, True)


async def test_a_killed_agent_loses_and_doubles_nothing(shift: Shift) -> None:
    await shift.until(7.4)
    await shift.power_cut("depot-gateway", 2.5)
    summary = await shift.end()
    assert summary.failures == []
    assert (summary.readings_lost, summary.readings_doubled, summary.ledger_balanced) == (0, 0, True)
    truth = read_truth(shift.supervisor.folder.truth)
    assert not all(crossing.certain for crossing in truth.crossings), "the cut was meant to hit a pallet on its way"
