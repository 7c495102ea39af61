"""Room set aside on the disk, so that a full disk can still be written to where that makes room.

SQLite writes a deletion to its log before any page is free: without a reserve a full disk could not even be emptied.
"""

import os
import shutil
from pathlib import Path
from typing import Final

FILE_SUFFIX: Final = ".reserve"
RESERVE_BYTES: Final = 4 * 1024 * 1024


class Reserve:
    """A file of `size` bytes beside the outbox that holds nothing. `is_kept` is False while its room is given away."""

    def __init__(self, beside: Path, size: int) -> None:
        self.path = beside.with_name(beside.name + FILE_SUFFIX)
        self._size = size
        self.is_kept = False

    def keep(self, *, spare_bytes: int = 0) -> bool:
        """Sets the room aside if it is not; False when the disk has not got it with so much to spare."""
        if self.is_kept:
            return True
        try:
            if shutil.disk_usage(self.path.parent).free < self._size + spare_bytes:
                return False
            with self.path.open("ab") as file:
                os.posix_fallocate(file.fileno(), 0, self._size)
        except OSError:
            self.release()
            return False
        self.is_kept = True
        return True

    def release(self) -> None:
        """Gives the room back to the disk."""
        self.path.unlink(missing_ok=True)
        self.is_kept = False
