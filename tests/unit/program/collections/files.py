"""Files of programs that are published, from their repositories."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path


def texts(repository: Path, folder: str) -> Iterator[tuple[str, str]]:
    """Names and texts of a repository's OpenQASM files below a folder.

    Args:
        repository: a clone, bare or not.
    """
    git = ["git", "-C", str(repository)]
    listed = subprocess.run(
        [*git, "ls-tree", "-r", "--name-only", "HEAD", folder],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    for path in listed.split("\n"):
        if not path.endswith(".qasm"):
            continue
        shown = subprocess.run([*git, "show", f"HEAD:{path}"], capture_output=True)
        if shown.returncode == 0:  # else a partial clone lacks it
            yield path, shown.stdout.decode("utf-8", "replace")
