"""QStone, a benchmark of hybrid workloads, from PyPI into a user's home in the cluster."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

from tests.support.containers import Cluster

QSTONE = "qstone==0.4.1"
#: Installed without dependencies: it asks for releases of NumPy and pyGSTi that the cluster's
#: Python cannot have, and for drivers of other QPUs. Its VQE needs none of them, but this:
NEEDED = Path(__file__).parent / "qstone.txt"
BUILD = Path(__file__).resolve().parents[3] / "ci" / "build"
#: In the user's home.
FOLDER = "qstone"

_ASK = "import platform as p; print(*p.python_version_tuple()[:2], p.machine(), p.libc_ver()[1])"


def install(cluster: Cluster, user: str) -> str:
    """Installs QStone and what its VQE needs, and gives the folder, for PYTHONPATH.

    pip runs here, for the cluster's Python, since containers may reach no package index; what it
    installed is kept.

    Raises:
        subprocess.CalledProcessError: pip could not; ``stderr`` says why.
    """
    major, minor, machine, libc = cluster.check(["python", "-c", _ASK]).out.split()
    target = f"{major}.{minor} {machine} {libc}"
    wanted = sha256(f"{target} {QSTONE} {NEEDED.read_text()}".encode()).hexdigest()[:16]
    kept = BUILD / f"qstone-{wanted}"
    if not kept.exists():
        newest = int(libc.split(".")[1])
        platforms = [f"--platform=manylinux_2_{n}_{machine}" for n in range(17, newest + 1)]
        options = [f"--python-version={major}.{minor}", "--only-binary=:all:", "--no-compile"]
        options += ["--quiet", "--disable-pip-version-check", *platforms]
        partly = BUILD / f"qstone-{os.getpid()}"
        try:
            for packages in (
                ["-r", str(NEEDED)],
                ["--no-deps", "--ignore-requires-python", QSTONE],
            ):
                pip = [sys.executable, "-m", "pip", "install", f"--target={partly}", *options]
                subprocess.run([*pip, *packages], check=True, capture_output=True, text=True)
            partly.rename(kept)
        finally:
            shutil.rmtree(partly, ignore_errors=True)
    cluster.copy(kept, user, FOLDER)
    return f"/home/{user}/{FOLDER}"


def remove(cluster: Cluster, user: str) -> None:
    cluster.run(["rm", "-rf", f"/home/{user}/{FOLDER}"])
