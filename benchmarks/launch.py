"""What `--qpu` adds to the launch of a step, run on the login node.

python launch.py [--quick]
"""

import json
import statistics
import subprocess
import sys
import time


def srun(*arguments):
    """Runs a step; its wall time in seconds and its output."""
    began = time.perf_counter()
    done = subprocess.run(["srun", *arguments], capture_output=True, text=True, timeout=60)
    if done.returncode:
        sys.exit(f"srun {' '.join(arguments)} failed: {done.stderr}")
    return time.perf_counter() - began, done.stdout


def main():
    pairs = 5 if "--quick" in sys.argv else 20
    srun("-N1", "true")
    plain, with_qpu, ours, slurmctld = [], [], [], []
    for _ in range(pairs):  # in turn, so that both see the same machine
        plain.append(srun("-N1", "true")[0])
        with_qpu.append(srun("-N1", "--qpu=emu0", "true")[0])
    for _ in range(pairs):
        variables = "OPENQSE_SHIM_US", "OPENQSE_SLURMCTLD_US"
        shim, asked = map(int, srun("-N1", "--qpu=emu0", "printenv", *variables)[1].split())
        ours.append((shim - asked) * 1e-3)
        slurmctld.append(asked * 1e-3)
    added = statistics.median(a - b for a, b in zip(with_qpu, plain, strict=True)) * 1e3
    plain_ms = statistics.median(plain) * 1e3
    for name, value in (
        ("launch.total", added),  # all that --qpu adds
        ("launch.ours", statistics.median(ours)),  # of it: shim, node agent, QPU agent
        ("launch.slurmctld", statistics.median(slurmctld)),  # of it: what the job holds
        ("launch.plain", plain_ms),  # a step without --qpu, for scale
    ):
        print(json.dumps({"name": name, "value": round(value, 2), "unit": "ms"}), flush=True)


if __name__ == "__main__":
    main()
