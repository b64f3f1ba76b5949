"""Writes ``messages.json`` (messages of every kind, as fields and as bytes), ``refused.json``
(bytes that are no message) and ``programs.json`` (circuits as arrays and as bytes).

To be run where the protocol has changed on purpose: ``python tests/vectors/make.py``. The tests
compare the files with what the library reads and writes, and do not write them.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from openqse.device import Capabilities, Expectations, Outcome, Samples, Work
from openqse.errors import StaleLease, UnknownProgram
from openqse.program.builder import CircuitBuilder
from openqse.program.circuit import ARRAYS, ARRAYS_1, FORMAT_1, Circuit
from openqse.program.gates import Op
from openqse.program.observable import PauliSum
from openqse.program.program import Output, Program
from openqse.wire.control import Drain, Failure, Resume, ServiceReport
from openqse.wire.frames import bundled, decode_body, decode_header, encode
from openqse.wire.leases import (
    Attach,
    Detach,
    Detached,
    Heartbeat,
    HeldLease,
    Hello,
    LeaseGrant,
    Mode,
    Ping,
    Pong,
    Probe,
    Welcome,
)
from openqse.wire.messages import Header, Kind, Latency, header
from openqse.wire.programs import ProgramEnvelope
from openqse.wire.reports import (
    EstimateQuestion,
    EstimateReport,
    LeaseRow,
    LeasesQuestion,
    LeasesReport,
    QueueQuestion,
    QueueReport,
    QueueRow,
    ShareQuestion,
    ShareReport,
    ShareRow,
    StatusQuestion,
    StatusReport,
    UsageQuestion,
    UsageReport,
    UsageRow,
    WindowRow,
)
from openqse.wire.tasks import (
    Acknowledge,
    Cancel,
    Resync,
    Resynced,
    TaskRequest,
    encode_outcome,
)
from openqse.wire.versions import Versions

FOLDER = Path(__file__).parent

LEASE = "4f0c9a6be2d1783c"
UNDER: Any = {"lease": LEASE, "generation": 2}
SESSION = bytes.fromhex("a1b2c3d4e5f60718")
PROGRAM = Program(
    "openqse.example.1",
    b"any bytes",
    ("theta", "phi"),
    (Output("c", 2), Output("flag", 1)),
)
CAPABILITIES = Capabilities(
    num_qubits=2, formats=("openqse.circuit.2",), max_shots=100_000, coupling=((0, 1),), slices=True
)
WINDOW = WindowRow(1790000000.0, 1790007200.0, "calibration", "root@host (key admin)", 1789990000.5)


def task_id(number: int) -> bytes:
    """The id of a task of the session."""
    return SESSION + number.to_bytes(8, "big")


def job(number: int) -> bytes:
    """A job's id as the header's ``task``."""
    return number.to_bytes(8, "big")


def leases() -> dict[str, list[Any]]:
    """Vectors of what is said of leases."""
    plain = json.loads(json.dumps(asdict(CAPABILITIES)))
    held = HeldLease(LEASE, "emu0", 2, Mode.SHARED, 2, plain, "/run/openqse/job-7/emu0.sock")
    return {
        "hello": Hello(Versions(1, 1)).frames(b"hello"),
        "hello of a process that speaks versions 2 to 3": Hello(Versions(2, 3)).frames(
            b"hello", version=2
        ),
        "welcome": Welcome(7, "c1", 4711, 256, (held,)).frames(b"hello"),
        "ping": Ping().frames(b"emu0", lease=LEASE),
        "pong to a ping": Pong().frames(b"emu0", **UNDER),
        "pong to a heartbeat": Pong(
            {LEASE: 2}, {"0011223344556677": "its job has ended"}, {LEASE: (4711, 4712)}
        ).frames(),
        "attach": Attach(7, 1000, "c1", 0, 2, Mode.SHARED).frames(job(7), time_left=30.0),
        "lease": LeaseGrant(2, Mode.SHARED, 3599.5, plain, 12_345).frames(job(7), **UNDER),
        "lease without a time limit": LeaseGrant(
            4, Mode.EXCLUSIVE, None, plain, 0, Versions(1, 2)
        ).frames(job(8), lease="0011223344556677", generation=1),
        "detach": Detach(7, "c1", LEASE).frames(job(7)),
        "detach of whichever lease the job has": Detach(7, "c1").frames(job(7)),
        "detached": Detached().frames(job(7)),
        "heartbeat": Heartbeat({LEASE: 2}, (8, 9), {LEASE: (4712,)}).frames(),
        "heartbeat of a node that holds nothing": Heartbeat({}, ()).frames(),
        "probe": Probe().frames(),
    }


def tasks() -> dict[str, list[Any]]:
    """Vectors of what a session says and hears."""
    digest = PROGRAM.digest
    one = Work(digest, np.array([[0.5, -1.25]]), shots=1000, seed=7)
    many = Work(digest, np.arange(260.0).reshape(130, 2) / 4, shots=2**31 - 1)
    none = Work(digest, np.empty((3, 0)), shots=1)
    energy = PauliSum.from_terms({"Z0 Z1": -1.0, "X2": 0.5, "I": 2.0}, 3)
    mean = Work(digest, np.array([[0.5, -1.25], [0.0, 1.0]]), observable=energy)

    def task(number: int, request: TaskRequest, **more: Any) -> list[Any]:
        head = header(request.kind, task_id(number), **UNDER, **more)
        return encode(head, *request.encode())

    def result(number: int, outcome: Outcome) -> list[Any]:
        return encode(header(Kind.RESULT, task_id(number)), *encode_outcome(outcome))

    sampled = Samples(np.array([[[1], [2], [3]]], np.uint8), 1_500_000, {"method": "statevector"})
    wide = Samples(np.arange(2100, dtype=np.uint8).reshape(2, 525, 2), 2**40)
    values = Expectations(np.array([0.25, -1.0]), 9, {"job": "v-17", "fidelity": 0.99, "tries": 2})
    return {
        "run that brings its program": task(1, TaskRequest(one, PROGRAM, 4711)),
        "run of a known program, with acknowledgements": task(
            2**40 + 5,
            TaskRequest(one, None, 4711, (1, 2**40 + 4)),
            time_left=12.5,
            latency=Latency.INTERACTIVE,
        ),
        "run with parameters in a buffer": task(3, TaskRequest(many)),
        "run with program and parameters in buffers": task(4, TaskRequest(many, PROGRAM)),
        "run of sets without parameters": task(5, TaskRequest(none)),
        "run with options": task(6, TaskRequest(none, options={"error_rate": 1e-9, "hint": True})),
        "expectation": task(7, TaskRequest(mean, None, 4711)),
        "result of samples": result(1, Outcome(sampled, "emu-3f2a")),
        "result of samples in a buffer": result(2, Outcome(wide, "emu-3f2a+emu-77aa")),
        "result of expectation values": result(7, Outcome(values, "")),
        "cancel": Cancel().frames(task_id(3), **UNDER),
        "resync": Resync((1, 2, 2**40 + 5)).frames(SESSION, **UNDER),
        "resynced": Resynced((2,)).frames(SESSION, **UNDER),
        "acknowledge": Acknowledge((1, 2**64 - 1)).frames(SESSION, **UNDER),
        "bundle": next(bundled([task(8, TaskRequest(none)), Cancel().frames(task_id(8), **UNDER)])),
    }


def reports() -> dict[str, list[Any]]:
    """Vectors of questions and reports."""
    lease = LeaseRow("emu0", LEASE, 7, "alice", "chem", 2, Mode.SHARED, 2, "active", ("c1", "c2"))
    usage = UsageRow("emu0", 7, "chem", "alice", 3, 3000, 4_500_000, 1_000)
    queued = QueueRow(
        "emu0", task_id(3).hex(), 7, "alice", "chem", SESSION.hex(), Latency.BATCH, "waiting",
        1000, 0, 0.25, 1, 0.125, None,
    )  # fmt: skip
    shares = (
        ShareRow("emu0", "chem", "", "root", 3, 0.75, 1.5, 1.0, 0.75, 1),
        ShareRow("emu0", "ml", "", "root", None, 0.25, 0.0, 0.0, None, 0),
    )
    status = StatusReport(
        qpu="emu0", online=True, reason="", slots=4, free=2, leases=1, leases_lapsed=0,
        slurmctld="", revocation_suspended=False, journal="", tasks_queued=1, tasks=2, busy=True,
        busy_s=12.5, calibration="emu-3f2a", drained="", windows=(WINDOW,), slurm_error="",
        batch_wait_slices_p50=1.0, batch_wait_slices_p99=7.0,
    )  # fmt: skip
    estimate = EstimateQuestion(
        PROGRAM.data, ProgramEnvelope.of(PROGRAM), 1000, 1, "chem", "alice", Latency.BATCH
    )
    return {
        "status": StatusQuestion().frames(),
        "report of the status": status.frames(),
        "leases": LeasesQuestion().frames(),
        "report of leases": LeasesReport((lease,)).frames(),
        "usage": UsageQuestion().frames(),
        "usage of a job": UsageQuestion(7).frames(),
        "report of usage": UsageReport((usage,)).frames(),
        "queue": QueueQuestion(100).frames(),
        "report of the queue": QueueReport((queued,), 2).frames(),
        "share": ShareQuestion().frames(),
        "report of shares": ShareReport(shares).frames(),
        "estimate": estimate.frames(),
        "report of an estimate": EstimateReport("emu0", 0.5, 12.25, 3, 2, 1, "").frames(),
    }


def control() -> dict[str, list[Any]]:
    """Vectors of what administrators say, and of errors."""
    stale = StaleLease("generation 1; the current one is 2", layer="QPU agent", generation=2)
    unknown = UnknownProgram("the program is not kept here", layer="QPU agent", remedy="Send it")
    report = ServiceReport("emu0", "since 2026-09-21T12:13:20 by root", (WINDOW,), "")
    return {
        "drain": Drain(None, 7200.0, "calibration", "root@host").frames(),
        "drain at a planned time, until resumed": Drain(1790000000.0, None, "laser").frames(),
        "resume": Resume(None, "done", "root@host").frames(),
        "report of a drain": report.frames(),
        "report of a resume": ServiceReport("emu0", "", (), "slurmctld does not answer").frames(),
        "error": Failure(**unknown.to_wire()).frames(task_id(1)),
        "error with details": Failure(**stale.to_wire()).frames(task_id(2)),
    }


#: To which question a report is the answer.
REPORTS = {
    "report of the status": "status",
    "report of leases": "leases",
    "report of usage": "usage",
    "report of the queue": "queue",
    "report of shares": "share",
    "report of an estimate": "estimate",
    "report of a drain": "drain",
    "report of a resume": "resume",
}


def refused() -> list[dict[str, Any]]:
    """What is no message: the code of the error that answers it, and the field where one is."""
    head = list(header(Kind.RUN, task_id(1), **UNDER))
    good = {"program": PROGRAM.digest, "sets": 1, "width": 1, "shots": 10, "data": bytes(8)}
    found: list[dict[str, Any]] = []

    def header_of(name: str, *, code: str = "protocol", **changed: Any) -> None:
        fields = list((Header._make(head)._asdict() | changed).values())
        add(name, [msgpack.packb(fields), msgpack.packb(good)], code)

    def body_of(name: str, kind: Kind, body: Any, field: str = "") -> None:
        fields = [head[0], str(kind), *head[2:]]
        raw = body if isinstance(body, bytes) else msgpack.packb(body)
        add(name, [msgpack.packb(fields), raw], "protocol", field)

    def add(name: str, frames: list[bytes], code: str, field: str = "") -> None:
        where = {"field": field} if field else {}
        shown = [frame.hex() for frame in frames]
        found.append({"name": name, "code": code, **where, "frames": shown})

    add("no frame with a header", [b""], "protocol")
    add("header that is not MessagePack", [b"\xc1", b""], "protocol")
    add("header that is a map", [b"\x80", b""], "protocol")
    add("header of seven fields", [msgpack.packb(head[:7]), b""], "protocol")
    add("header of 4097 bytes", [msgpack.packb([*head[:7], "x" * 4097]), b""], "protocol")
    add("nine frames", [msgpack.packb(head), *[b""] * 8], "limit")
    header_of("version 0", version=0)
    header_of("a version that is a text", version="1")
    header_of("unknown kind", kind="gossip")
    header_of("task id of 33 bytes", task=bytes(33))
    header_of("task id that is a text", task="text")
    header_of("negative generation", generation=-1)
    header_of("negative time left", time_left=-1.0)
    header_of("endless time left", time_left=float("inf"))
    header_of("unknown latency class", latency="soon")
    body_of("body that is not MessagePack", Kind.RUN, b"\xc1")
    body_of("body that is a list", Kind.RUN, [])
    body_of("digest of 31 bytes", Kind.RUN, good | {"program": bytes(31)}, "program")
    body_of("no parameter sets", Kind.RUN, good | {"sets": 0}, "sets")
    body_of("fewer parameters than said", Kind.RUN, good | {"sets": 2})
    body_of("no parameters though some are said", Kind.RUN, good | {"data": None})
    body_of("no shots", Kind.RUN, good | {"shots": 0}, "shots")
    body_of("run with an observable", Kind.RUN, good | {"observable": {}}, "observable")
    body_of("expectation without an observable", Kind.EXPECTATION, good, "observable")
    body_of("program that does not come along", Kind.RUN, good | {"attached": {"format": "f"}})
    body_of("attach without its job", Kind.ATTACH, {}, "job_id")
    body_of("attach in an unknown mode", Kind.ATTACH, {
        "job_id": 7, "uid": 1000, "node": "c1", "restart_count": 0, "slots": 1, "mode": "greedy",
    }, "mode")  # fmt: skip
    body_of("heartbeat whose generations are texts", Kind.HEARTBEAT, {
        "leases": {LEASE: "2"}, "asking": [],
    }, f"leases['{LEASE}']")  # fmt: skip
    body_of("resync without tasks", Kind.RESYNC, {}, "unanswered")
    body_of("negative task number", Kind.RESYNC, {"unanswered": [1, -1]}, "unanswered[1]")
    body_of("queue report of no rows", Kind.QUEUE, {"limit": 0}, "limit")
    return found


def circuits() -> dict[str, bytes]:
    """Programs that show each part of the forms, encoded."""
    bell = CircuitBuilder(2).h(0).cx(0, 1).measure_all().build()
    ansatz = CircuitBuilder(2)
    theta, phi = ansatz.parameter("theta"), ansatz.parameter("phi")
    ansatz.ry(theta, 0).crz(2 * theta - 0.5 * phi + 0.25, 0, 1).measure(1, 1)
    return {
        "Bell pair, form 1": form_1(bell),
        "angles affine in two parameters, form 1": form_1(ansatz.build()),
        "Bell pair": bell.encoded,
        "angles affine in two parameters": ansatz.build().encoded,
        "control flow over outcomes": dynamic().encoded,
    }


def dynamic() -> Circuit:
    """Registers, cells, a branch, a loop, a bit of the program's own and an angle of an outcome."""
    made = CircuitBuilder(2)
    done, count = made.register("done", 1), made.register("count", 2)
    (own,) = made.scratch(1)
    tries, limit, angle = made.integer(), made.constant(3), made.real(0.5)
    enough = made.integer()
    with made.loop():
        made.h(0).measure(0, own)
        with made.if_(made.bits(own)):
            made.break_loop()
        made.compute(Op.ADD, tries, tries, made.constant(1))
        made.compute(Op.FMUL, angle, angle, made.constant(2.0))
        made.rz(made.value(angle), 1)
        made.compute(Op.LE, enough, limit, tries)
        with made.if_(enough):
            made.fail("three tries were not enough")
    made.measure(1, done[0])
    made.compute(Op.SETBITS, tries, 2, clbit=count[0])
    return made.build()


def form_1(circuit: Circuit) -> bytes:
    """A straight circuit in the form of the release before."""
    body: list[Any] = [FORMAT_1, circuit.num_qubits, circuit.num_clbits, list(circuit.parameters)]
    for name, dtype in ARRAYS_1.items():
        body.append(getattr(circuit, name).astype(np.dtype(dtype).newbyteorder("<")).tobytes())
    packed: bytes = msgpack.packb(body)
    return packed


def program(name: str, data: bytes) -> dict[str, Any]:
    """What the file has of a circuit's bytes."""
    circuit = Circuit.decode(data)
    form, num_qubits, num_clbits, *_ = msgpack.unpackb(data)
    wanted = ARRAYS_1 if form == FORMAT_1 else ARRAYS
    return {
        "name": name,
        "format": form,
        "num_qubits": num_qubits,
        "num_clbits": num_clbits,
        "parameters": list(circuit.parameters),
        "outputs": [list(output) for output in circuit.outputs],
        "messages": list(circuit.messages),
        "arrays": {key: getattr(circuit, key).tolist() for key in wanted},
        "data": data.hex(),
        "digest": Program(form, data).id,
    }


def plain(value: Any) -> Any:
    """A value of a message as JSON has it; bytes as ``{"hex": …}``."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value


def vector(name: str, frames: list[Any]) -> dict[str, Any]:
    """What the file has of a message."""
    raw = [bytes(frame) for frame in frames]
    head: Header = decode_header(raw, Versions(1, 65535))
    answers = {"answers": REPORTS[name]} if name in REPORTS else {}
    return {
        "name": name,
        "kind": head.kind,
        **answers,
        "header": plain(head._asdict()),
        "body": None if head.kind == Kind.BUNDLE else plain(decode_body(raw)),
        "frames": [frame.hex() for frame in raw],
    }


def written(vectors: list[dict[str, Any]]) -> str:
    """The file's text: a vector's parts on lines of their own."""
    parts = [
        "{\n"
        + ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in each.items())
        for each in vectors
    ]
    return "[\n" + "\n},\n".join(parts) + "\n}\n]\n"


def main() -> int:
    """Writes the file."""
    groups = (leases(), tasks(), reports(), control())
    vectors = [vector(name, frames) for group in groups for name, frames in group.items()]
    missing = set(Kind) - {each["kind"] for each in vectors}
    assert not missing, missing
    (FOLDER / "messages.json").write_text(written(vectors))
    (FOLDER / "refused.json").write_text(written(refused()))
    programs = [program(name, data) for name, data in circuits().items()]
    (FOLDER / "programs.json").write_text(written(programs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
