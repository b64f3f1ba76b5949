"""Poses as the agent of NODE to the QPU agent at ENDPOINT and says that JOB has ended there."""

import sys

import zmq

from openqse.wire.frames import encode
from openqse.wire.messages import Kind, header

endpoint, node, job = sys.argv[1:]
socket = zmq.Context().socket(zmq.DEALER)
socket.setsockopt(zmq.LINGER, 0)
socket.setsockopt(zmq.ROUTING_ID, f"{node}-00000000".encode())
socket.connect(endpoint)
body = {"job_id": int(job), "node": node}
socket.send_multipart([b"", *encode(header(Kind.DETACH, b"posing"), body)])
socket.poll(2000)
