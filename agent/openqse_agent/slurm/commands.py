"""The Slurm client by Slurm's own commands."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

from openqse.errors import SlurmError
from openqse_agent.slurm import fair_tree, usage_comment
from openqse_agent.slurm.client import FairTree, Job, QPUUse, Reservation
from openqse_agent.slurm.processes import output, run, unreadable
from openqse_agent.slurm.records import (
    held_licenses,
    is_running,
    listed_licenses,
    remaining,
    reservation_end,
)

# Slurm's NO_VAL and INFINITE of 32 bits, which releases before 23.02 print as they are.
_NO_VALUE = 0xFFFFFFFE

# Ends each field of sacct's, whose comments may have lines and bars of their own.
_END = "\x1e"
# sacctmgr writes a backtick for each of these.
_QUOTES = "\"'"
# Bytes that slurmdbd's database keeps of a comment; it cuts off the rest.
_COMMENT_BYTES = 65535


class Commands:
    """Asks through ``squeue``, ``sshare``, ``scontrol``, ``sacct`` and ``sacctmgr``.

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
        done = run([*command, "--jobs=" + ",".join(map(str, sorted(wanted)))], self._timeout)
        if done.returncode and "Invalid job id" in done.stderr:
            return {}
        text = output(done)
        try:
            # An array's or a heterogeneous job's id brings its other jobs with it, and 22.05
            # always brings all jobs.
            answer = json.loads(text)
            records = {_integer(record, "job_id"): record for record in answer["jobs"]}
            # Of jobs it is the time at which slurmctld answered; releases before 23.02 lack it.
            now = _number(answer.get("last_update"))
            return {id: _job(id, records[id], now) for id in wanted & records.keys()}
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            unreadable("squeue --json", error, text)

    def fair_tree(self) -> FairTree:
        """The tree as slurmctld has it now, and how it lets usage decay.

        Raises:
            SlurmError: slurmctld does not answer, or its answer cannot be read.
        """
        ends = time.monotonic() + self._timeout
        # Not --json, which is 5 KB for each user's row and unknown to releases before 23.11.
        columns = f"--format={fair_tree.COLUMNS}"
        rows = output(run(["sshare", "--all", "--parsable2", "--noheader", columns], self._timeout))
        config = output(run(["scontrol", "show", "config"], ends - time.monotonic()))
        try:
            return fair_tree.read(rows, config)
        except ValueError as error:
            unreadable("sshare and scontrol show config", error, rows)

    def record_use(self, job_id: int, use: Mapping[str, QPUUse]) -> bool:
        """Writes what a job used of each QPU into its accounting record (``usage_comment``).

        It is said in AdminComment, or in SystemComment where AdminComment has quotes, which
        sacctmgr would turn into backticks.

        Returns:
            Whether the record says so already. False: it was written now, and must be asked again
            once the timeout of a call has passed, until it is true.

        Raises:
            SlurmError: slurmdbd does not answer or refuses, has no record of the job, or takes it
                to run still; or no comment of the job can be added to.
        """
        ends = time.monotonic() + self._timeout
        name, comments = self._accounted(job_id)
        command = ["sacctmgr", "--immediate", "--quiet", "modify", "job", "where", f"jobid={name}"]
        for column, comment in comments.items():
            wanted = usage_comment.merged(comment, use)
            if wanted == comment:
                return True
            if not set(wanted) & set(_QUOTES) and len(wanted.encode()) <= _COMMENT_BYTES:
                output(run([*command, "set", f"{column}={wanted}"], ends - time.monotonic()))
                return False
        raise SlurmError(
            f"the comments in the record of job {job_id} are too long, or have quotes, which"
            " sacctmgr would change",
            layer="slurmdbd",
            remedy=f"Make the site's own text in {' or '.join(comments)} short, without quotes",
        )

    def _accounted(self, job_id: int) -> tuple[str, dict[str, str]]:
        """The name of an ended job that means its record alone, and the comments there."""
        command = ["sacct", "--local", "--allocations", "--noheader", "--parsable"]
        columns = "--format=JobIDRaw,JobID,End,AdminComment,SystemComment"
        text = output(
            run([*command, f"--delimiter={_END}", columns, f"--jobs={job_id}"], self._timeout)
        )
        *fields, rest = text.split(_END)
        if len(fields) % 5 or rest.strip():
            unreadable("sacct", ValueError("a row has not five fields"), text)
        # An array's or a heterogeneous job's id brings its other jobs with it, and of a job that
        # was resized there is a record for each size, the last one at the end.
        rows = zip(*[iter(fields)] * 5, strict=True)
        mine = [row for row in rows if row[0].strip() == str(job_id)]
        if not mine or mine[-1][2] == "Unknown":
            raise SlurmError(
                f"slurmdbd has {'no end' if mine else 'no record'} of job {job_id} yet",
                layer="slurmdbd",
                remedy="Try again later; `sacctmgr show runawayjobs` lists what it missed",
            )
        _, name, _, admin, system = mine[-1]
        return name, {"AdminComment": admin, "SystemComment": system}

    def reservations(self) -> dict[str, Reservation]:
        """The reservations of licenses that have not ended, by name.

        Raises:
            SlurmError: slurmctld does not answer, or its answer cannot be read.
        """
        # Not --json, which scontrol of releases before 23.02 does not know for reservations.
        text = output(run(["scontrol", "--oneliner", "show", "reservation"], self._timeout))
        try:
            found = (_reservation(line) for line in text.splitlines() if "=" in line)
            return {reservation.name: reservation for reservation in found if reservation.licenses}
        except (ValueError, LookupError) as error:
            unreadable("scontrol show reservation", error, text)

    def reserve(self, reservation: Reservation) -> None:
        """Has slurmctld hold licenses back. Jobs that have them keep them.

        Raises:
            SlurmError: slurmctld does not answer, or refuses.
        """
        start, end = reservation.start, reservation.end
        command = [
            *("scontrol", "create", "reservation"),
            f"reservationname={reservation.name}",
            f"licenses={listed_licenses(reservation.licenses)}",
            "flags=ANY_NODES,MAINT",
            "users=root",
            "starttime=now" if start <= time.time() else f"starttime=uts{int(start)}",
            "duration=infinite" if end is None else f"endtime=uts{int(end)}",
        ]
        output(run(command, self._timeout))

    def release(self, name: str) -> None:
        """Ends a reservation; one that is gone already is none to end.

        Raises:
            SlurmError: slurmctld does not answer, or refuses.
        """
        done = run(["scontrol", "delete", f"reservation={name}"], self._timeout)
        if not (done.returncode and "reservation is invalid" in done.stderr):
            output(done)


def _reservation(line: str) -> Reservation:
    fields = dict(item.split("=", 1) for item in line.split() if "=" in item)
    start, end = int(fields["StartTime"]), int(fields["EndTime"])
    licenses = fields.get("Licenses", "")
    return Reservation(
        name=fields["ReservationName"],
        licenses={} if licenses == "(null)" else held_licenses(True, licenses, ""),
        start=start,
        end=reservation_end(start, end),
    )


def _job(id: int, record: Mapping[str, Any], now: float | None) -> Job:
    # 22.05 has one word; later releases have a list, the state first and its flags after it.
    state = record["job_state"]
    word = state if isinstance(state, str) else state[0]
    running = is_running(word)
    uid = _integer(record, "user_id")
    # Without a time limit slurmctld sets an end a year ahead.
    limited = "time_limit" not in record or _number(record["time_limit"]) is not None
    end_time = (_number(record.get("end_time")) or None) if limited else None
    return Job(
        id=id,
        running=running,
        state=word,
        uid=uid,
        user=record.get("user_name") or str(uid),
        account=record.get("account") or "",
        licenses=held_licenses(
            running, record.get("licenses") or "", record.get("licenses_allocated") or ""
        ),
        end_time=end_time,
        restart_count=int(_number(record.get("restart_cnt")) or 0),
        leader=int(_number(record.get("het_job_id")) or record["job_id"]),
        reservation=(record.get("resv_name") or "") if running else "",
        remaining=remaining(running, end_time, now),
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
