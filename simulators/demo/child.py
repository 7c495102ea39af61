"""One process the demo started: its log, its end, and no way to outlive the demo."""

import asyncio
import ctypes
import os
import signal
import sys
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

PR_SET_PDEATHSIG: Final = 1
LAST_LINES: Final = 15
KILL_WAIT_S: Final = 5.0
_LIBC: Final = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def _die_with_parent() -> None:
    """Between fork and exec: the kernel ends this process when the demo is gone, however it went."""
    if _LIBC is not None:
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclass(slots=True)
class Child:
    """A command with its environment and log file; may be started, stopped, killed and started again."""

    name: str
    command: list[str]
    environment: dict[str, str]
    log: Path
    stop_within_s: float = 10.0
    process: asyncio.subprocess.Process | None = None
    _expected_to_end: bool = field(init=False, default=False)

    async def start(self) -> None:
        """Starts the process in a group of its own; what it says is added to its log."""
        self._expected_to_end = False
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self.command,
                env=self.environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    @property
    def has_died(self) -> bool:
        """True when it ended and nobody asked it to."""
        return self.process is not None and self.process.returncode is not None and not self._expected_to_end

    @property
    def is_running(self) -> bool:
        """True between start and end."""
        return self.process is not None and self.process.returncode is None

    async def stop(self) -> int | None:
        """SIGTERM, then SIGKILL to the whole group after `stop_within_s` real seconds. Returns the exit status."""
        self._expected_to_end = True
        return await self._end(signal.SIGTERM, self.stop_within_s)

    async def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        self._expected_to_end = True
        await self._end(signal.SIGKILL, KILL_WAIT_S)

    async def _end(self, how: signal.Signals, within_s: float) -> int | None:
        if self.process is None:
            return None
        if self.process.returncode is None:
            self._signal(how)
            try:
                async with asyncio.timeout(within_s):
                    await self.process.wait()
            except TimeoutError:
                self._signal(signal.SIGKILL)
                async with asyncio.timeout(KILL_WAIT_S):
                    await self.process.wait()
        return self.process.returncode

    def _signal(self, how: signal.Signals) -> None:
        if self.process is None or self.process.returncode is not None:
            return
        try:
            os.killpg(self.process.pid, how)
        except ProcessLookupError:
            return  # it ended between the look and the signal

    async def ended(self) -> int:
        """Waits for the end; returns the exit status."""
        if self.process is None:
            return 0
        return await self.process.wait()

    def last_words(self) -> str:
        """The end of its log."""
        if not self.log.exists():
            return ""
        with self.log.open(encoding="utf-8", errors="replace") as lines:
            return "".join(deque(lines, LAST_LINES))
