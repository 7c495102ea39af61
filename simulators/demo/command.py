"""The `demo` command: starts everything, tells the story, checks what came of it, and takes everything down."""

import asyncio
import math
import signal
import sys
from collections.abc import Awaitable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from core.errors import ConfigurationError, QuartermasterError
from simulators.demo.outcome import settle_and_count
from simulators.demo.story import Story
from simulators.demo.supervisor import SIMULATE, Supervisor, supervise
from simulators.demo.tally import Summary
from simulators.scenario import DEFAULT_SCENARIO

OK, FAILED = 0, 1


def run_demo(
    *,
    for_s: float | None = None,
    summary: Path | None = None,
    speed: float | None = None,
    scenario: str = DEFAULT_SCENARIO,
    port: int = 0,
    keep: Path | None = None,
) -> int:
    """Runs until Ctrl-C, or for so many real seconds of story and then counts. Exit status 0 when all is well.

    Raises ConfigurationError for what cannot be used.
    """
    if for_s is not None and not (math.isfinite(for_s) and for_s > 0):
        raise ConfigurationError(f"--for {for_s:g}: must be above 0 seconds")
    if summary is not None and for_s is None:
        raise ConfigurationError("--summary needs --for SECONDS: a demo without an end has no outcome")
    if summary is not None and (summary.is_dir() or not summary.parent.is_dir()):
        raise ConfigurationError(f"--summary {summary}: cannot be written; name a file in a folder that exists")
    return asyncio.run(_run(supervise(scenario, speed=speed, port=port, keep=keep), for_s, summary))


async def _run(supervisor: Supervisor, for_s: float | None, summary: Path | None) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(name, stop.set)
    failures: list[str] = []
    try:
        _say(f"starting in {supervisor.folder.root} ...")
        if await _unless(stop, supervisor.start()):
            _say(welcome(supervisor))
            outcome = await _live(supervisor, stop, for_s)
            if outcome is not None:
                await _report(outcome, summary)
                failures += outcome.failures
    except* QuartermasterError as errors:
        failures += [str(error) for error in _leaves(errors)]
    finally:
        _say("stopping ...")
        await supervisor.stop()
    for failure in failures:
        print(f"quartermaster demo: {failure}", file=sys.stderr)  # noqa: T201  what the command is for
    return FAILED if failures else OK


async def _unless(stop: asyncio.Event, work: Awaitable[None]) -> bool:
    """Does the work unless told to stop; True when it was done. Raises what the work raises."""
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not working.done():
        working.cancel()
        await asyncio.wait({working})
        return False
    working.result()
    return True


async def _live(supervisor: Supervisor, stop: asyncio.Event, for_s: float | None) -> Summary | None:
    """Tells the story until its end; the outcome when it has one."""
    scale = supervisor.scale
    story = Story(supervisor.folder.log(SIMULATE), supervisor.database_uri, scale.story_origin, _say)
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(supervisor.watch(), name="watch")
        telling = group.create_task(story.run(), name="story")
        left_s = None if for_s is None else (scale.real_origin - datetime.now(UTC)).total_seconds() + for_s
        try:
            async with asyncio.timeout(left_s):
                await stop.wait()
            outcome = None
        except TimeoutError:
            _say("the story is over: waiting until everything is stored, then counting ...")
            outcome = await settle_and_count(supervisor)
        watching.cancel()
        telling.cancel()
    return outcome


def welcome(supervisor: Supervisor) -> str:
    """Where to look and who may log in."""
    width = max(len(person.name) for person in supervisor.people)
    rows = "\n".join(f"    {person.name:<{width}}  {person.password}" for person in supervisor.people)
    return (
        f"\nQuartermaster is running: {supervisor.url}\n\n"
        f"Log in as one of these people (drawn at this start; the name is the role):\n{rows}\n\n"
        f'Story "{supervisor.scenario.scenario.title}", {supervisor.speed:g} times as fast as life; Ctrl-C stops everything.\n'
    )


async def _report(outcome: Summary, summary: Path | None) -> None:
    text = msgspec.json.format(msgspec.json.encode(outcome), indent=2)
    if summary is not None:
        await asyncio.to_thread(summary.write_bytes, text + b"\n")
    _say(text.decode())


def _leaves(group: BaseExceptionGroup[QuartermasterError]) -> Iterator[QuartermasterError]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _say(words: str) -> None:
    print(words, flush=True)  # noqa: T201  what the command is for
