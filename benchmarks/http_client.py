"""One HTTP request, or many on one connection: as little code as possible beside the server."""

from __future__ import annotations

import asyncio
import http.client

_TIMEOUT_S = 120.0


class HttpError(Exception):
    """The status is not 200; the text holds it, and the body."""


def post(port: int, path: str, body: bytes) -> bytes:
    """Return the body of the answer. Raises `HttpError` unless its status is 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        connection.request("POST", path, body, {"content-type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
    finally:
        connection.close()
    if response.status != http.client.OK:
        raise HttpError(f"{response.status}: {answer[:200]!r}")
    return answer


class Connection:
    """A kept-alive connection that sends the same request again and again."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, body: bytes
    ) -> None:
        self._reader, self._writer = reader, writer
        head = (
            f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        self._request = head.encode() + body

    async def ask(self) -> int:
        """Send the request, read its answer, and return the size of its body.

        Raises `HttpError` unless the status is 200.
        """
        self._writer.write(self._request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").lower().split("\r\n")
        sizes = [line.partition(":")[2] for line in lines if line.startswith("content-length:")]
        body = await self._reader.readexactly(int(sizes[0]) if sizes else 0)
        if status.split()[1] != "200":
            raise HttpError(f"{status}: {body[:200]!r}")
        return len(body)
