"""The part of pyslurm 24.11 and 25.11 that the agents use, answering recorded jobs."""

import os
import sys
import time
from enum import Flag, auto
from types import SimpleNamespace
from typing import Any

import recorded

__version__ = "25.11.2"

if recorded.fault() == "fatal":
    print("fatal: Could not establish a configuration source", file=sys.stderr)
    os._exit(1)


def _diag() -> SimpleNamespace:
    _fail()
    told = recorded.number(recorded.answer().get("last_update"))
    if told is None:
        raise AttributeError("diag")  # as releases that lack it
    return SimpleNamespace(request_time=told)


slurmctld = SimpleNamespace(diag=_diag)


class RPCError(Exception):
    def __init__(self, errno: int, message: str) -> None:
        self.errno = errno
        super().__init__(message)


def _fail() -> None:
    match recorded.fault():
        case "hang":
            time.sleep(60)
        case "down":
            raise RPCError(1800, "Unable to contact slurm controller (connect failure)")
        case "fatal":
            os._exit(1)


def _word(states: list[str]) -> str:
    """slurm_job_state_string: a flag hides the state under it."""
    return next((flag for flag in ("COMPLETING", "CONFIGURING") if flag in states), states[0])


def _job(record: dict[str, Any]) -> SimpleNamespace:
    job = SimpleNamespace(
        id=record["job_id"],
        state=_word(record["job_state"]),
        user_id=record["user_id"],
        user_name=record["user_name"],
        account=record["account"],
        licenses=record["licenses"].split(",") if record["licenses"] else [],
        end_time=recorded.number(record["end_time"]) or None,
        time_limit=recorded.number(record["time_limit"]),
        requeue_count=record["restart_cnt"],
        reservation=record["resv_name"] or None,
        heterogeneous_id=recorded.number(record.get("het_job_id")) or None,
    )
    if "licenses_allocated" in record:
        job.allocated_licenses = (record["licenses_allocated"] or "").split(",")
    if recorded.fault() == "garbage":
        job.licenses = ["qpu_emu0:many"]
    return job


class Job:
    @staticmethod
    def load(job_id: int) -> SimpleNamespace:
        _fail()
        found = recorded.chosen(job_id)
        if not found:
            raise RPCError(2017, "Invalid job id specified")
        return _job(found[0])


class Jobs:
    @staticmethod
    def load() -> Any:
        _fail()
        return {record["job_id"]: _job(record) for record in recorded.jobs()}


class ReservationFlags(Flag):
    MAINTENANCE = auto()
    ANY_NODES = auto()


class Reservation:
    """Attributes are set in the order given; an end before a start is a mistake there."""

    def __init__(self, name: str, **fields: Any) -> None:
        self.name = name
        self.start_time = self.end_time = 0
        for key, value in fields.items():
            setattr(self, key, value)
            assert not self.end_time or self.start_time

    def create(self) -> None:
        _fail()
        names = {"MAINTENANCE": "MAINT"}
        flags = {names.get(str(flag.name), str(flag.name)) for flag in self.flags}
        licenses = ",".join(self.licenses)
        assert self.users == ["root"]
        try:
            recorded.reserve(self.name, licenses, self.start_time, self.end_time, flags)
        except recorded.Refused as refused:
            raise RPCError(refused.errno, str(refused)) from None

    def delete(self) -> None:
        _fail()
        try:
            recorded.release(self.name)
        except recorded.Refused as refused:
            raise RPCError(refused.errno, str(refused)) from None


class Reservations:
    @staticmethod
    def load() -> Any:
        _fail()
        if recorded.fault() == "garbage":
            raise RPCError(1000, "Unspecified error")
        return {
            each["name"]: SimpleNamespace(
                name=each["name"],
                licenses=each["licenses"].split(",") if each["licenses"] else [],
                start_time=each["start"],
                end_time=each["end"],
            )
            for each in recorded.reservations()
        }
