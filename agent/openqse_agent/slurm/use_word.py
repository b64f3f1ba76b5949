"""What a job used, as one word among what else its record in Slurm's accounting has as a comment.

The word has the form of Slurm's own lists of resources, such as AllocTRES, and no quotes, which
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
    """The comment with a word that says this, and what it said before of other QPUs.

    The word stands last: those who look at how a comment begins find it as it was. The comment is
    returned as it is if it says this already, or if there is no use to tell.
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
