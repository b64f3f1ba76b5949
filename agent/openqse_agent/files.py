"""Files that a death at any moment leaves as they were or as they are to be; and their folders."""

from __future__ import annotations

import os
from pathlib import Path

#: Of a file that is being made beside the one whose place it will take.
PART = ".part"


def write_whole(path: Path, text: str, *, synced: bool) -> None:
    """Writes a file that is its owner's alone.

    Args:
        synced: whether it must outlive a power cut too.

    Raises:
        OSError: it cannot be written.
    """
    making = path.with_suffix(PART)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    with os.fdopen(os.open(making, flags, 0o600), "w") as file:
        file.write(text)
        if synced:
            file.flush()
            os.fsync(file.fileno())
    os.replace(making, path)
    if synced:
        sync_directory(path.parent)


def make_public_folder(path: Path) -> None:
    """Makes a folder, unless it is there, that all may look into, whatever root's umask is.

    Raises:
        OSError: it cannot be made.
    """
    if not path.exists():
        path.mkdir(parents=True)
        path.chmod(0o755)


def sync_directory(path: Path) -> None:
    """Sees to it that what was made or renamed in a folder outlives a power cut.

    Raises:
        OSError: the disk failed.
    """
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
