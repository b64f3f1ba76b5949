"""A task's hops and frames with nothing done at any of them: what the agents are measured against.

    client  --Unix socket-->  zmq.proxy  --TCP-->  echo server

    bare_chain.py serve PORT            the echo server, in the QPU agent's place
    bare_chain.py proxy PATH HOST:PORT  the proxy, in the node agent's place

Both end when their standard input does, so neither outlives whoever started it.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import threading

import zmq

#: Frames of the sizes of a prepared task's header and body, which nobody reads.
FRAMES = [b"h" * 60, b"b" * 70]


def serve(port):
    socket = zmq.Context().socket(zmq.ROUTER)
    socket.sndhwm = socket.rcvhwm = 0
    socket.bind(f"tcp://*:{port}")
    print("ready", flush=True)
    while True:
        socket.send_multipart(socket.recv_multipart())


def proxy(path, endpoint):
    context = zmq.Context()
    front, back = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    for socket in (front, back):
        socket.sndhwm = socket.rcvhwm = 0
    front.bind(f"ipc://{path}")
    back.connect(f"tcp://{endpoint}")
    print("ready", flush=True)
    zmq.proxy(front, back)


@contextlib.contextmanager
def client(endpoint):
    """A socket at the near end of the chain; its proxy runs as long."""
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/bare.sock"
        command = [sys.executable, __file__, "proxy", path, endpoint]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            process.stdout.readline()
            socket = zmq.Context.instance().socket(zmq.DEALER)
            socket.sndhwm = socket.rcvhwm = 0
            socket.connect(f"ipc://{path}")
            yield socket
            socket.close(0)
        finally:
            process.kill()
            process.wait()


def _end_with_input():
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=_end_with_input, daemon=True).start()
    {"serve": serve, "proxy": proxy}[sys.argv[1]](*sys.argv[2:])
