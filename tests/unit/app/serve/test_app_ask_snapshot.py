"""The control plane's question, where one process of several dies with it."""

from __future__ import annotations

import socket
import threading

import pytest

from seamline.app.serve.data_plane import ask_snapshot
from seamline.domain.errors import Unavailable


@pytest.mark.parametrize("deaths", [1, 2])
def test_it_is_asked_once_more_of_the_others(deaths):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def serve():
            for turn in range(2):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(4096)
                    if turn >= deaths:
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n")
                        connection.sendall(b'{"version":7}')

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        if deaths == 1:
            assert ask_snapshot(url, "production", timeout_s=60) == {"version": 7}
        else:
            with pytest.raises(Unavailable, match="did not answer"):
                ask_snapshot(url, "production", timeout_s=60)
        thread.join()
