"""Poses as the agent of NODE to a QPU's agent, says that JOB has ended there, prints the answer.

pose.py QPU NODE JOB
"""

import sys

import zmq

from openqse import site
from openqse.wire.frames import decode_body, encode
from openqse.wire.messages import Kind, header
from openqse_agent import keys

name, node, job = sys.argv[1:]
qpu = site.load().qpu(name)
socket = zmq.Context().socket(zmq.DEALER)
socket.setsockopt(zmq.LINGER, 0)
socket.setsockopt(zmq.ROUTING_ID, f"{node}-00000000".encode())
keys.Pair.anonymous().use(socket, keys.of_qpu(qpu))
socket.connect(qpu.endpoint)
body = {"job_id": int(job), "node": node}
socket.send_multipart([b"", *encode(header(Kind.DETACH, b"posing"), body)])
if socket.poll(5000):
    print(decode_body(socket.recv_multipart()[1:])["code"])
