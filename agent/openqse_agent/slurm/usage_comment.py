"""The usage comment: what a job used, as one word in the comment of its accounting record.

The word has the form of Slurm's own lists of resources, such as AllocTRES. It has no quotes, which
sacctmgr would change::

    openqse:qpu_time/emu0=12.5,tasks/emu0=40,shots/emu0=4000,waited/emu0=3.25,qpu_time/emu1=...

``qpu_time`` and ``waited`` are seconds, with at most nine decimals.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from openqse_agent.slurm.client import QPUUse

_WORD = re.compile(r"(?<!\S)openqse:(\S*)")


def merged(comment: str, use: Mapping[str, QPUUse]) -> str:
    """A comment with this use added to what it says of other QPUs.

    The word stands last, so the beginning of the comment stays as it was. The comment comes back
    unchanged if it says this already, or if there is no use to tell.
    """
    if not use:
        return comment
    said = [item for word in _WORD.findall(comment) for item in word.split(",") if "=" in item]
    items = dict(item.split("=", 1) for item in said)
    for qpu, used in use.items():
        items |= {
            f"qpu_time/{qpu}": _seconds(used.qpu_time),
            f"tasks/{qpu}": str(used.tasks),
            f"shots/{qpu}": str(used.shots),
            f"waited/{qpu}": _seconds(used.waited),
        }
    word = "openqse:" + ",".join(f"{name}={value}" for name, value in items.items())
    others = _WORD.sub("", comment).rstrip()
    return f"{others} {word}" if others else word


def _seconds(value: float) -> str:
    return f"{value:.9f}".rstrip("0").rstrip(".")
