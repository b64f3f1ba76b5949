"""Sends messages past the library, one at a time, and prints each answer.

    speak.py ENDPOINT [MARK...] < messages     one JSON list of frames in hexadecimal digits a line

MARK (hexadecimal, may be empty) goes before each message: a QPU agent expects an empty session.
"""

import json
import sys

import zmq

from openqse.wire.frames import decode_body, decode_header

endpoint, marks = sys.argv[1], [bytes.fromhex(mark) for mark in sys.argv[2:]]
socket = zmq.Context().socket(zmq.DEALER)
socket.setsockopt(zmq.LINGER, 0)
socket.connect(endpoint)
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
