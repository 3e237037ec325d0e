"""Cross-origin requests: what a browser must be told before a page may ask from elsewhere."""

from __future__ import annotations

from sigrun.wire.http.messages import Header, HttpRequest, HttpResponse

# What pages may send and read beside the plain headers: TensorFlow Serving's, ours, those of
# Connect and gRPC-Web, and what a proxy before the server asks for.
_MAY_SEND = (
    b"Content-Type, X-Request-Id, Connect-Protocol-Version, Connect-Timeout-Ms, "
    b"Grpc-Timeout, X-Grpc-Web, X-User-Agent, Authorization, X-Api-Key, Content-Encoding"
)
_MAY_READ = (
    b"X-Model-Version, X-Request-Id, Server-Timing, "
    b"Grpc-Status, Grpc-Message, Grpc-Status-Details-Bin"
)

HEADERS: tuple[Header, ...] = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"POST, GET"),
    (b"access-control-allow-headers", _MAY_SEND),
    (b"access-control-expose-headers", _MAY_READ),
)
# Every other request of a page would be such a question; browsers cap it at two hours.
_REMEMBERED = ((b"access-control-max-age", b"7200"),)


def server_timing(duration_s: float) -> Header:
    """Return the header that tells a page how much of its wait was spent in this server.

    W3C Server Timing: milliseconds, from the moment the body is there to the answer.
    """
    return b"server-timing", b"server;dur=%.3f" % (duration_s * 1e3)


def preflight(request: HttpRequest, *, is_allowed: bool) -> HttpResponse:
    """Answer OPTIONS, which a browser sends first; 400 if it names no origin on the web."""
    origin = request.headers.get(b"origin", b"")
    is_from_a_page = b"http://" in origin or b"https://" in origin
    return HttpResponse(
        body=b"",
        status=200 if is_from_a_page else 400,
        headers=_REMEMBERED if is_allowed else (),
    )
