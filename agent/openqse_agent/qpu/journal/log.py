"""A log of batches that neither a death of the process nor a power cut undoes.

A file of fixed size, written in place: its blocks are there before they are needed, so that a batch
costs one write to the disk and no change of the file system's own records, and a disk that is full
cannot refuse it. Once what it holds is settled elsewhere, it begins anew from the front.
"""

from __future__ import annotations

import errno
import os
import zlib
from pathlib import Path
from struct import Struct

from openqse_agent.files import sync_directory

#: Bytes of the file.
SIZE = 2**20

_MAGIC = b"oqse"
#: Magic, epoch, length and checksum of the batch that follows.
_HEAD = Struct("<4sQII")


class ChargeLog:
    """The log at ``path``, made where there is none.

    What is kept from one beginning to the next is an epoch; batches of earlier ones may still lie
    behind it in the file.

    Attributes:
        batches: what an earlier run left in it, oldest first.

    Raises:
        OSError: it cannot be opened, read or made. ValueError: it is damaged or something else.
    """

    def __init__(self, path: Path) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_DSYNC | os.O_CLOEXEC
        self._file = os.open(path, flags, 0o600)
        try:
            data = os.pread(self._file, SIZE, 0)
            self.batches, self._epoch, self._end = _read(data, str(path))
            if len(data) < SIZE:
                zeros = bytes(SIZE - len(data))
                if os.pwrite(self._file, zeros, len(data)) < len(zeros):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            sync_directory(path.parent)
        except BaseException:
            os.close(self._file)
            raise

    def fits(self, size: int) -> bool:
        """Whether a batch of that many bytes can be appended."""
        return max(self._end, _HEAD.size) + _HEAD.size + size <= SIZE

    def append(self, batch: bytes) -> None:
        """Adds a batch; it is on the disk when this returns, or not there at all.

        Raises:
            OSError: it does not fit, or the disk failed.
        """
        if not self.fits(len(batch)):
            raise OSError(errno.ENOSPC, f"a batch of {len(batch)} bytes does not fit into the log")
        if self._end == 0:
            # An epoch begins with a batch of nothing, which no power cut can leave half written.
            self._end = self._write(b"", 0)
        self._end = self._write(batch, self._end)

    def _write(self, batch: bytes, at: int) -> int:
        head = _HEAD.pack(_MAGIC, self._epoch, len(batch), _checksum(self._epoch, batch))
        data = head + batch
        if os.pwrite(self._file, data, at) < len(data):
            raise OSError(errno.EIO, "a batch of charges was written in part")
        return at + len(data)

    def begin_anew(self) -> None:
        """Forgets what is in it; the next batch goes to the front."""
        if self._end:
            self._epoch += 1
            self._end = 0

    def close(self) -> None:
        os.close(self._file)


def _checksum(epoch: int, batch: bytes) -> int:
    return zlib.crc32(batch, epoch & 0xFFFFFFFF)


def _read(data: bytes, name: str) -> tuple[list[bytes], int, int]:
    """The batches of the file's current epoch, the epoch, and where they end.

    Raises:
        ValueError: it is none of ours, or a batch is damaged that others follow. One that none
            follows was cut short: whoever wrote it was never told that it was there.
    """
    if not data.strip(b"\0"):
        return [], 1, 0
    first = _batch(data, 0)
    if first is None:
        raise ValueError(f"{name} is damaged at its beginning, or no log of charges")
    epoch, batches, at = first[0], [], 0
    while (found := _batch(data, at)) is not None and found[0] == epoch:
        batches.append(found[1])
        at += _HEAD.size + len(found[1])
    ours, later = _HEAD.pack(_MAGIC, epoch, 0, 0)[:12], at
    while (later := data.find(ours, later + 1)) >= 0:
        if _batch(data, later) is not None:
            raise ValueError(f"{name} is damaged at byte {at}: batches of charges follow it")
    return [batch for batch in batches if batch], epoch, at


def _batch(data: bytes, at: int) -> tuple[int, bytes] | None:
    """Epoch and content of the batch at a place, if a whole one is there."""
    if at + _HEAD.size > len(data):
        return None
    magic, epoch, length, checksum = _HEAD.unpack_from(data, at)
    batch = data[at + _HEAD.size : at + _HEAD.size + length]
    whole = magic == _MAGIC and len(batch) == length and _checksum(epoch, batch) == checksum
    return (epoch, batch) if whole else None
