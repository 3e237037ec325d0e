"""The sockets: HTTP/1.1 and HTTP/2 on asyncio, behind one `Exchange`.

`http1` and `http2` are pure: bytes and time in, events and bytes out (`events`), with every
limit in one frozen object (`limits`).
"""
