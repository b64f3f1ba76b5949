"""The Slurm client by Slurm's own commands."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NoReturn

from openqse.errors import SlurmError
from openqse_agent.slurm.client import Job, Reservation
from openqse_agent.slurm.records import (
    USE_PARENT,
    Association,
    account_shares,
    held_licences,
    is_running,
    listed_licences,
    reservation_end,
)

# The only variables of Slurm that say where slurmctld is; all others (SQUEUE_STATES,
# SLURM_CLUSTERS, SLURM_TIME_FORMAT, ...) change what the commands answer.
_KEPT = frozenset({"SLURM_CONF", "SLURM_CONF_SERVER"})
_SLURM = ("SLURM_", "SQUEUE_", "SSHARE_", "SCONTROL_", "SACKD_")

# Slurm's NO_VAL and INFINITE of 32 bits, which releases before 23.02 print as they are.
_NO_VALUE = 0xFFFFFFFE


class Commands:
    """Asks through ``squeue``, ``sshare`` and ``scontrol``, one process for each question.

    Args:
        timeout: seconds after which a command is killed.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout

    def jobs(self, ids: Iterable[int]) -> dict[int, Job]:
        """The jobs that slurmctld knows among ``ids``, by id, in one question.

        Raises:
            SlurmError: slurmctld does not answer, or its answer cannot be read.
        """
        wanted = set(ids)
        if not wanted:
            return {}
        # For a single id squeue has slurmctld look up that job; for more it gets them all.
        command = ["squeue", "--json", "--all", "--local", "--states=all"]
        done = self._run([*command, "--jobs=" + ",".join(map(str, sorted(wanted)))])
        if done.returncode and "Invalid job id" in done.stderr:
            return {}
        text = _output(done)
        try:
            # An array's or a heterogeneous job's id brings its other jobs with it, and 22.05
            # always brings all jobs.
            records = {_integer(record, "job_id"): record for record in json.loads(text)["jobs"]}
            return {id: _job(id, records[id]) for id in wanted & records.keys()}
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            _unreadable("squeue --json", error, text)

    def shares(self) -> dict[str, float]:
        """Normalised shares (0 to 1) of each account in the fair tree, root left out.

        Raises:
            SlurmError: slurmctld does not answer, or its answer cannot be read.
        """
        # Not --json, which is 5 KB for each user's row and unknown to releases before 23.11.
        columns = "--format=Account,User,RawShares"
        text = _output(self._run(["sshare", "--all", "--parsable2", "--noheader", columns]))
        try:
            return account_shares(_associations(text))
        except ValueError as error:
            _unreadable("sshare", error, text)

    def reservations(self) -> dict[str, Reservation]:
        """The reservations of licences that have not ended, by name.

        Raises:
            SlurmError: slurmctld does not answer, or its answer cannot be read.
        """
        # Not --json, which scontrol of releases before 23.02 does not know for reservations.
        text = _output(self._run(["scontrol", "--oneliner", "show", "reservation"]))
        try:
            found = (_reservation(line) for line in text.splitlines() if "=" in line)
            return {reservation.name: reservation for reservation in found if reservation.licences}
        except (ValueError, LookupError) as error:
            _unreadable("scontrol show reservation", error, text)

    def reserve(self, reservation: Reservation) -> None:
        """Has slurmctld hold licences back. Jobs that have them keep them.

        Raises:
            SlurmError: slurmctld does not answer, or refuses.
        """
        start, end = reservation.start, reservation.end
        command = [
            *("scontrol", "create", "reservation"),
            f"reservationname={reservation.name}",
            f"licenses={listed_licences(reservation.licences)}",
            "flags=ANY_NODES,MAINT",
            "users=root",
            "starttime=now" if start <= time.time() else f"starttime=uts{int(start)}",
            "duration=infinite" if end is None else f"endtime=uts{int(end)}",
        ]
        _output(self._run(command))

    def release(self, name: str) -> None:
        """Ends a reservation; one that is gone already is none to end.

        Raises:
            SlurmError: slurmctld does not answer, or refuses.
        """
        done = self._run(["scontrol", "delete", f"reservation={name}"])
        if not (done.returncode and "reservation is invalid" in done.stderr):
            _output(done)

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        environment = {
            name: value
            for name, value in os.environ.items()
            if name in _KEPT or not name.startswith(_SLURM)
        }
        try:
            return subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=self._timeout,
                env=environment | {"LC_ALL": "C", "SLURM_TIME_FORMAT": "%s"},
            )
        except subprocess.TimeoutExpired:
            raise SlurmError(
                f"{command[0]} did not end within {self._timeout:g} s and was killed",
                layer="slurmctld",
                remedy="Check with `scontrol ping` that slurmctld answers from this host",
            ) from None
        except OSError as error:
            raise SlurmError(
                f"{command[0]} cannot be started: {error.strerror}",
                layer="slurmctld",
                remedy=f"Install Slurm's client commands and put {command[0]} on the agent's PATH",
            ) from error


def _output(done: subprocess.CompletedProcess[str]) -> str:
    if not done.returncode:
        return done.stdout
    said = " ".join(done.stderr.split())[-500:] or "no message"
    raise SlurmError(
        f"{done.args[0]} failed with exit code {done.returncode}: {said}",
        layer="slurmctld",
        remedy="Check with `scontrol ping` that slurmctld answers from this host, and that munged"
        " and slurm.conf here are the cluster's",
    )


def _unreadable(what: str, error: Exception, text: str) -> NoReturn:
    raise SlurmError(
        f"the answer of {what} cannot be read ({type(error).__name__}: {error}); it begins"
        f" {text[:80]!r}",
        layer="slurmctld",
        remedy="Run the command by hand as the agent's user; Slurm 22.05 to 26.05 are understood",
    ) from error


def _reservation(line: str) -> Reservation:
    fields = dict(item.split("=", 1) for item in line.split() if "=" in item)
    start, end = int(fields["StartTime"]), int(fields["EndTime"])
    licences = fields.get("Licenses", "")
    return Reservation(
        name=fields["ReservationName"],
        licences={} if licences == "(null)" else held_licences(True, licences, ""),
        start=start,
        end=reservation_end(start, end),
    )


def _job(id: int, record: Mapping[str, Any]) -> Job:
    # 22.05 has one word; later releases have a list, the state first and its flags after it.
    state = record["job_state"]
    word = state if isinstance(state, str) else state[0]
    running = is_running(word)
    uid = _integer(record, "user_id")
    # Without a time limit slurmctld sets an end a year ahead.
    limited = "time_limit" not in record or _number(record["time_limit"]) is not None
    return Job(
        id=id,
        running=running,
        state=word,
        uid=uid,
        user=record.get("user_name") or str(uid),
        account=record.get("account") or "",
        licences=held_licences(
            running, record.get("licenses") or "", record.get("licenses_allocated") or ""
        ),
        end_time=(_number(record.get("end_time")) or None) if limited else None,
        restart_count=int(_number(record.get("restart_cnt")) or 0),
        leader=int(_number(record.get("het_job_id")) or record["job_id"]),
    )


def _integer(record: Mapping[str, Any], key: str) -> int:
    number = _number(record[key])
    if number is None:
        raise ValueError(f"{key} is {record[key]!r}")
    return int(number)


def _number(value: Any) -> float | None:
    """A number in any release's form; None where Slurm has none or means infinity."""
    if isinstance(value, Mapping):
        if value.get("infinite") or not value["set"]:
            return None
        value = value["number"]
    if value is None or value == "":
        return None
    number = float(value)
    return None if number >= _NO_VALUE else number


def _associations(text: str) -> Iterator[Association]:
    """The rows of ``sshare``, where a row's indent is its depth in the tree."""
    path: list[int] = []
    for id, line in enumerate(text.splitlines()):
        indented, user, shares = line.split("|")
        account = indented.lstrip()
        depth = len(indented) - len(account)
        if depth > len(path):
            raise ValueError(f"{account} is indented deeper than its parent's child")
        del path[depth:]
        raw = USE_PARENT if shares == "parent" else int(shares or 0)
        yield Association(id, path[-1] if path else None, account, user, raw)
        path.append(id)
