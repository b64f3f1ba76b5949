"""Sends bytes of stdin (hexadecimal, one connection a line) to HOST PORT and hangs up."""

import socket
import sys

host, port = sys.argv[1:]
for line in sys.stdin:
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(bytes.fromhex(line))
