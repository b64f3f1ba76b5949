"""Sends messages past the library, one at a time, and prints each answer.

speak.py ipc://PATH < messages      to a node agent: one JSON list of hexadecimal frames a line
speak.py QPU < messages             to a QPU's agent, with a key that nobody knows
"""

import json
import sys

import zmq

from openqse import site
from openqse.wire.frames import decode_body, decode_header
from openqse_agent import keys

socket = zmq.Context().socket(zmq.DEALER)
socket.setsockopt(zmq.LINGER, 0)
marks = []
if sys.argv[1].startswith("ipc:"):
    socket.connect(sys.argv[1])
else:
    qpu = site.load().qpu(sys.argv[1])
    keys.Pair.anonymous().use(socket, keys.of_qpu(qpu))
    socket.connect(qpu.endpoint)
    marks = [b""]  # a QPU agent expects a session, here none
for text in sys.stdin:
    message = [bytes.fromhex(frame) for frame in json.loads(text)]
    socket.send_multipart(marks + message)
    answer = {"kind": "nothing"}
    if socket.poll(3000):
        frames = socket.recv_multipart()[len(marks) :]
        body = decode_body(frames)
        answer = {"kind": decode_header(frames).kind, "code": body.get("code")}
        answer |= {"layer": body.get("layer"), "message": body.get("message")}
    print(json.dumps(answer))
