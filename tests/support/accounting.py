"""What Slurm's accounting in the cluster says."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.support.containers import Cluster


@dataclass(frozen=True)
class UsageBefore:
    """RawUsage of the account chem, in billed seconds, when the tests began, and when that was."""

    raw: int
    at: str


def raw_usage(cluster: Cluster) -> int:
    """RawUsage of the account chem in the fair tree: billed seconds."""
    said = cluster.check(["sshare", "-n", "-P", "-A", "chem", "-o", "Account,User,RawUsage"])
    (usage,) = re.findall(r"^\s*chem\|\|(\d+)$", said.out, re.MULTILINE)
    return int(usage)
