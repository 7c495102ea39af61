"""`python -m tests.edge.outbox_torture FOLDER ROUNDS SEED`: an outbox that is killed, cut off and filled up, round after round.

Each round a child process commits business facts and says of each, once it is committed, that it is. At a moment drawn at random
the child is killed; or it is stopped, its files are copied as they lie, and life goes on from the copy, as after a power cut; or
the disk is filled first. Then the file is opened again, and every fact that was said to be committed must be in it, once.
Prints one JSON line. Runs in a process of its own because it forks.
"""

import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from core.messages import BarcodeScan, decode_batch
from edge.outbox import FILE_NAME, Outbox
from edge.shelf import Priority, Shelf

NOW = datetime(2026, 3, 1, 6, 0, tzinfo=UTC)
LONGEST_S = 0.05
RECORD = 16
PADDING = "x" * 600


def commit_until_killed(path: Path, first: int, said: int) -> None:
    """The child: commits facts numbered from `first`, and writes each number to the pipe once it is committed."""
    number = first
    with Outbox(path, "a", reserve_bytes=64 * 1024) as outbox:
        os.write(said, b"opened".ljust(RECORD))
        while True:
            try:
                outbox.append([BarcodeScan("dock-1", f"{number} {PADDING}", NOW)], Priority.BUSINESS, NOW)
            except (sqlite3.OperationalError, OSError):
                continue  # a full disk: nothing was taken, so nothing is said
            os.write(said, str(number).encode().ljust(RECORD))
            number += 1


def begin(path: Path, first: int) -> tuple[int, int]:
    """Starts a child and waits until its outbox is open; its process id and the pipe it speaks through."""
    heard, said = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(heard)
        try:
            commit_until_killed(path, first, said)
        finally:
            os._exit(3)
    os.close(said)
    if os.read(heard, RECORD).strip() != b"opened":
        raise RuntimeError("the child could not open the outbox")
    return child, heard


def end(child: int, heard: int) -> list[int]:
    """Kills the child; what it said until then."""
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    told = bytearray()
    while piece := os.read(heard, 65_536):
        told += piece
    os.close(heard)
    return [int(told[start : start + RECORD]) for start in range(0, len(told) - RECORD + 1, RECORD)]


def held(path: Path) -> Counter[int]:
    """How often each fact is in the file."""
    shelf = Shelf(path)
    rows = shelf.next_batches(Priority.BUSINESS, 1_000_000, after=0)
    shelf.close()
    texts = [item.text for row in rows for item in decode_batch(row.payload).items if isinstance(item, BarcodeScan)]
    return Counter(int(text.split()[0]) for text in texts)


class Torture:
    """The folder with the outbox, what was promised of it, and what happened to it. `disk` may be filled up; None: it is not."""

    def __init__(self, folder: Path, disk: Path | None, chance: random.Random) -> None:
        self.folder = folder
        self.path = (disk or folder) / FILE_NAME
        self.disk = disk
        self.chance = chance
        self.promised: set[int] = set()
        self.summary: Counter[str] = Counter()
        self.next = 0

    def round(self) -> None:
        """One blow, and the look afterwards."""
        kind = self.chance.choice(["kill", "cut", *(["full"] if self.disk else [])])
        self.summary[kind] += 1
        child, heard = begin(self.path, self.next)
        time.sleep(self.chance.uniform(0, LONGEST_S))
        if kind == "cut":
            os.kill(child, signal.SIGSTOP)
            os.waitpid(child, os.WUNTRACED)
            told = self._copy(child, heard)
        elif kind == "full" and self.disk is not None:
            filler = self.disk / "filler"
            fill(filler)
            time.sleep(self.chance.uniform(0, LONGEST_S))
            told = end(child, heard)
            filler.unlink()
        else:
            told = end(child, heard)
        self.promised |= set(told)
        self._look()

    def _copy(self, child: int, heard: int) -> list[int]:
        aside = self.folder / "aside"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        parts = [each for suffix in ("", "-wal", "-shm") if (each := self.path.with_name(self.path.name + suffix)).exists()]
        for part in parts:
            shutil.copyfile(part, aside / part.name)
        told = end(child, heard)
        for part in parts:
            part.unlink(missing_ok=True)
        for part in aside.iterdir():
            if not part.name.endswith("-shm"):  # memory shared by processes: it does not survive a power cut
                shutil.copyfile(part, self.path.with_name(part.name))
        return told

    def _look(self) -> None:
        with Outbox(self.path, "a", reserve_bytes=64 * 1024) as outbox:
            self.summary["corrupt"] += outbox.recovered_from is not None
            found = held(self.path)
            self.summary["lost"] += len(self.promised - found.keys())
            self.summary["doubled"] += sum(count > 1 for count in found.values())
            self.next = max([self.next, *(number + 1 for number in found)])
            if len(found) > 200:
                # Receipted: from now on it may be gone, and must not come back.
                outbox.free([(1, outbox.last_seq)], NOW)
                self.summary["receipted"] += len(found)
                self.promised = set()
                self.summary["came_back"] += len(held(self.path))


def fill(path: Path) -> None:
    """Takes what the disk has left."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 65_536)
        except OSError:
            return


def main() -> int:
    folder, rounds, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    disk = Path(sys.argv[4]) if len(sys.argv) > 4 else None
    torture = Torture(folder, disk, random.Random(seed))
    for _ in range(rounds):
        torture.round()
    torture.summary["committed"] = torture.next
    sys.stdout.write(json.dumps(dict(torture.summary)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
