"""Says hello on a job's socket as whoever runs this, past the library; prints how that ended."""

import json
import os
import sys

import zmq

from openqse.wire.frames import decode_body, decode_header, encode
from openqse.wire.messages import Kind, header

path = sys.argv[1]
socket = zmq.Context().socket(zmq.DEALER)
socket.setsockopt(zmq.LINGER, 0)
socket.connect(f"ipc://{path}")
socket.send_multipart(encode(header(Kind.HELLO, b"hello")))
answered = bool(socket.poll(2000))
line = {"uid": os.getuid(), "host": os.uname().nodename, "answered": answered}
if answered:
    frames = socket.recv_multipart()
    line["kind"] = decode_header(frames).kind
    line["job_id"] = decode_body(frames).get("job_id")
print(json.dumps(line))
