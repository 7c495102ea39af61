"""The solver as a process of its own: started when needed, killed when it hangs, ended when idle.

Parent and child speak frames over stdin and stdout: four bytes of length (big-endian), then JSON.
"""

import asyncio
import os
import struct
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

import msgspec

from core.errors import RuleViolation, Unavailable
from hub.domain.routing import Plan, Problem

TIME_LIMIT_S: Final = 1.0
START_GRACE_S: Final = 30.0  # real seconds a cold child may need to import its engines on a busy machine
OVERRUN: Final = 3.0  # times the limit an engine may take before it counts as hung
IDLE_S: Final = 120.0  # real seconds without work after which the child ends and gives its memory back
MAX_WAITING: Final = 8  # callers that may wait for the one child
MAX_FRAME_BYTES: Final = 64 * 1024 * 1024
LENGTH: Final = struct.Struct(">I")
WORKER: Final = (sys.executable, "-m", "hub.adapters.solvers.worker")


class Task(msgspec.Struct, frozen=True):
    """What the child is asked."""

    problem: Problem
    time_limit_s: float
    seed: int


class Answer(msgspec.Struct, frozen=True):
    """What it answers: a plan, or why there is none (`wrong`: the problem itself is)."""

    plan: Plan | None = None
    error: str = ""
    wrong: bool = False


class SolverProcess:
    """One child process that solves one problem at a time; an `async with` block ends it.

    Calls wait for each other in order. A call that is cancelled kills the child; the next call starts another.
    """

    def __init__(
        self, *, command: Sequence[str] = WORKER, seed: int = 1, start_grace_s: float = START_GRACE_S, idle_s: float = IDLE_S
    ) -> None:
        self._command = tuple(command)
        self._seed = seed
        self._start_grace_s = start_grace_s
        self._idle_s = idle_s
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._child: asyncio.subprocess.Process | None = None
        self._idle_timer: asyncio.TimerHandle | None = None

    async def __call__(self, problem: Problem, time_limit_s: float = TIME_LIMIT_S) -> Plan:
        """The best plan within the limit of real seconds.

        Raises RuleViolation when the problem itself is wrong, Unavailable when the child crashed, hung or has too many callers.
        """
        if self._waiting >= MAX_WAITING:
            raise Unavailable(f"{MAX_WAITING} problems wait for the solver already; try again later")
        self._waiting += 1
        try:
            async with self._turn:
                return await self._solve(Task(problem, time_limit_s, self._seed))
        finally:
            self._waiting -= 1

    async def _solve(self, task: Task) -> Plan:
        deadline = self._start_grace_s + OVERRUN * task.time_limit_s
        settled = False
        try:
            async with asyncio.timeout(deadline):
                answer = await self._ask(task)
            settled = True
        except TimeoutError as error:
            raise Unavailable(f"the solver gave no answer within {deadline:.0f} s and was killed") from error
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Unavailable("the solver ended in the middle of its work") from error
        except (msgspec.MsgspecError, OSError) as error:
            raise Unavailable(f"the solver does not work: {error}") from error
        finally:
            if not settled:
                await self._kill()
        self._idle_timer = asyncio.get_running_loop().call_later(self._idle_s, self._dismiss)
        if answer.plan is not None:
            return answer.plan
        if answer.wrong:
            raise RuleViolation(f"the problem cannot be planned: {answer.error}")
        raise Unavailable(f"the solver failed: {answer.error}")

    async def _ask(self, task: Task) -> Answer:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        if self._child is None or self._child.returncode is not None or _closing(self._child):
            await self._kill()
            self._child = await asyncio.create_subprocess_exec(
                *self._command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=_environment()
            )
        stdin, stdout = self._child.stdin, self._child.stdout
        if stdin is None or stdout is None:
            raise ConnectionError("no pipes")
        payload = msgspec.json.encode(task)
        stdin.write(LENGTH.pack(len(payload)) + payload)
        await stdin.drain()
        (length,) = LENGTH.unpack(await stdout.readexactly(LENGTH.size))
        if length > MAX_FRAME_BYTES:
            raise ConnectionError(f"an answer of {length} bytes is over the limit")
        return msgspec.json.decode(await stdout.readexactly(length), type=Answer)

    def _dismiss(self) -> None:
        """Tells an idle child that there is no more work; it ends by itself."""
        if self._child is not None and self._child.stdin is not None and not self._turn.locked():
            self._child.stdin.close()

    async def _kill(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        if child.returncode is None:
            child.kill()
        if child.stdin is not None:
            child.stdin.close()
        await asyncio.shield(child.wait())

    @property
    def pid(self) -> int | None:
        """The child's process id while there is one."""
        return None if self._child is None or self._child.returncode is not None else self._child.pid

    async def ended(self) -> None:
        """Waits until the present child, if any, has ended."""
        if self._child is not None:
            await self._child.wait()

    async def aclose(self) -> None:
        """Ends the child at once."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        await self._kill()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()


def _closing(child: asyncio.subprocess.Process) -> bool:
    return child.stdin is None or child.stdin.is_closing()


def _environment() -> dict[str, str]:
    """The child needs no secret of the hub: only what Python itself uses."""
    return {key: value for key, value in os.environ.items() if not key.startswith("QM_")}
