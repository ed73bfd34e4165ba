"""A server in a process of its own that answers after so long, and says when it did.

It speaks HTTP/2 to whoever begins with it, as far as one answer needs.

Run as a script: DELAY_S [PEM], prints its port. A thread for each connection, so that no event
loop, ours or another, comes between the request and the answer. All processes of a machine share
the monotonic clock, so what it says can be compared with what a probe measured.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
import threading
import time

HTTP_2 = b"PRI * HTTP/2.0"
SETTINGS = b"\0\0\0\x04\0\0\0\0\0"
STATUS_200 = b"\0\0\x01\x01\x04\0\0\0\x01\x88"
LAST_DATA = b"\0\x01\0\0\0\x01"
"""What follows the length of a frame."""


def answer(connection: socket.socket, tls: ssl.SSLContext | None, delay_s: float) -> None:
    """Read one request and answer it `delay_s` later."""
    with contextlib.suppress(OSError), connection:
        if tls is not None:
            connection = tls.wrap_socket(connection, server_side=True)
        is_http2 = connection.recv(65536).startswith(HTTP_2)
        if is_http2:
            connection.sendall(SETTINGS)
        time.sleep(delay_s)
        body = f'{{"answered_at": "{time.monotonic():.6f}"}}'
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        if is_http2:
            connection.sendall(
                STATUS_200 + len(body).to_bytes(3, "big") + LAST_DATA + body.encode()
            )
        else:
            connection.sendall((head + body).encode())
        connection.close()


def main() -> None:
    """Serve until killed."""
    delay, *pem = sys.argv[1:]
    tls = None
    if pem:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(pem[0])
        tls.set_alpn_protocols(["h2", "http/1.1"])
    listener = socket.create_server(("127.0.0.1", 0), backlog=100)
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    while True:
        connection, _ = listener.accept()
        arguments = (connection, tls, float(delay))
        threading.Thread(target=answer, args=arguments, daemon=True).start()


if __name__ == "__main__":
    main()
