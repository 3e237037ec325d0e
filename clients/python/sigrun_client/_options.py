"""How a client connects and calls: frozen settings."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from sigrun_client._errors import InvalidInput

_MAX_MESSAGE_BYTES = (1 << 31) - 1


RELOAD_TIMEOUT_S = 600.0
"""For a reload, which is answered when its models are loaded; a server's own default for that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """An encrypted connection; certificates and keys are PEM contents.

    Without `root_certificates` those that gRPC ships are trusted. `private_key` and
    `certificate_chain` are the client's own, where the server asks for them. `server_name`
    is the name in the server's certificate, where that is not the host of the address.
    """

    root_certificates: bytes | None = None
    private_key: bytes | None = None
    certificate_chain: bytes | None = None
    server_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """When a call that failed with UNAVAILABLE, and no other code, is sent again.

    `attempts` counts the first one, 1 means never; gRPC makes no more than 5 at one address.
    The n-th wait is up to `initial_backoff_s * backoff_multiplier ** (n - 1)` seconds, at most
    `max_backoff_s`, chosen at random. The deadline covers all attempts. Raises `InvalidInput`.
    """

    attempts: int = 4
    initial_backoff_s: float = 0.1
    max_backoff_s: float = 2.0
    backoff_multiplier: float = 2.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise InvalidInput(f"Retries.attempts is at least 1, not {self.attempts}")
        if min(self.initial_backoff_s, self.max_backoff_s, self.backoff_multiplier) <= 0:
            raise InvalidInput(f"the times and the multiplier of {self} must be positive")

    def backoff_s(self, failures: int) -> float:
        """Return the longest wait after `failures` attempts."""
        wait_s = self.initial_backoff_s * self.backoff_multiplier ** (failures - 1)
        return min(wait_s, self.max_backoff_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepAlive:
    """Pings that tell a dead connection from a quiet one.

    A ping goes out after `interval_s` without traffic, and the connection is closed when no
    answer comes within `timeout_s`. Most servers refuse more than one ping in five minutes
    unless they were told otherwise. `without_calls`: also while no call is in flight.
    """

    interval_s: float = 300.0
    timeout_s: float = 20.0
    without_calls: bool = False


def token_from_file(path: str | os.PathLike[str]) -> Callable[[], str]:
    """Return what reads the token in a file at each call, for `Options.token`.

    A token that is replaced in the file is so sent from the next call on. Raises `InvalidInput`,
    now or at a call, for a file that cannot be read or holds more or less than a line.
    """

    def read() -> str:
        try:
            text = Path(path).read_bytes().decode("ascii").strip()
        except OSError as error:
            raise InvalidInput(f"cannot read the token in {path}: {error.strerror}") from None
        except UnicodeDecodeError:
            text = ""
        if not text or not text.isprintable():
            raise InvalidInput(f"{path} does not hold a token, which is a line of ASCII")
        return text

    read()
    return read


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Settings of a client.

    `timeout_s` is the deadline of each call, in seconds, where it names none; None or
    `math.inf` waits for ever. `token`, or what it returns, goes with each call as
    `authorization: Bearer`; use it with `tls`. `token_from_file` reads it from a file.
    `headers` go with each call too. `compression` is for requests. `max_message_bytes` bounds
    requests and replies.
    """

    timeout_s: float | None = 60.0
    tls: Tls | None = None
    token: str | Callable[[], str] | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    compression: Literal["gzip", "deflate"] | None = None
    retries: Retries = Retries()
    keep_alive: KeepAlive | None = None
    max_message_bytes: int = _MAX_MESSAGE_BYTES

    def __post_init__(self) -> None:
        if not 0 < self.max_message_bytes <= _MAX_MESSAGE_BYTES:
            raise InvalidInput(
                f"max_message_bytes is between 1 and {_MAX_MESSAGE_BYTES}, "
                f"not {self.max_message_bytes}"
            )

    def call_metadata(self) -> tuple[tuple[str, str], ...]:
        """Return what goes with a call beside its message."""
        token = self.token() if callable(self.token) else self.token
        bearer = [("authorization", f"Bearer {token}")] if token else []
        return (*self.headers.items(), *bearer)
