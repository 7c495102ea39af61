"""The child process of `SolverProcess`: reads problems from stdin, writes plans to stdout, ends when stdin closes."""

import os
import sys
from typing import BinaryIO

import msgspec

from hub.adapters.solvers import portfolio
from hub.adapters.solvers.process import LENGTH, MAX_FRAME_BYTES, Answer, Task


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answers every frame of `requests` on `answers` until it ends."""
    while len(head := requests.read(LENGTH.size)) == LENGTH.size:
        (length,) = LENGTH.unpack(head)
        if length > MAX_FRAME_BYTES:
            raise ValueError(f"a frame of {length} bytes is over the limit of {MAX_FRAME_BYTES}")
        payload = msgspec.json.encode(_answer(requests.read(length)))
        answers.write(LENGTH.pack(len(payload)) + payload)
        answers.flush()


def _answer(request: bytes) -> Answer:
    task = msgspec.json.decode(request, type=Task)
    try:
        return Answer(plan=portfolio.solve(task.problem, time_limit_s=task.time_limit_s, seed=task.seed))
    except ValueError as error:
        return Answer(error=str(error), wrong=True)
    except ImportError as error:
        return Answer(error=f"{error}; install quartermaster[routing]")


def main() -> None:
    """Keeps stdout for answers alone: whatever an engine prints goes to stderr."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
