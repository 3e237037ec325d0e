"""Who may ask for what: tokens by their hashes, and the rights of each.

A token is known here by its SHA-256 alone, so that whoever reads the file, or the memory of the
process, learns no token. A plain hash is enough for what is random and long (`sigrun token`
makes 256 bits); it would not be for a password, which can be guessed.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import re
import secrets
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sigrun.errors import InvalidArgument

MAX_TOKENS = 10_000
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PREFIX = "sigrun_"  # by it scanners of source code and logs find a token
_RANDOM_BYTES = 32


class Right(enum.StrEnum):
    """What a token lets its bearer do."""

    INFERENCE = "inference"  # ask models, their signatures and their states
    ADMINISTRATION = "administration"  # say what is served, and ask for states
    METRICS = "metrics"  # read /metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One token: who has it, the SHA-256 of it in hexadecimal, and what it is good for.

    It ends at `expires`, a time with a time zone; None: never. Raises `InvalidArgument`.
    """

    name: str
    sha256: str
    rights: frozenset[Right]
    expires: datetime | None = None

    def __post_init__(self) -> None:
        if not self.name or not self.name.isprintable():
            raise InvalidArgument(
                f"A token has a name, a line of text that logs call it by; given: {self.name!r}"
            )
        if not _SHA256.fullmatch(self.sha256):
            raise InvalidArgument(
                f"Token {self.name} needs its sha256 as 64 lower-case hexadecimal digits; it has "
                f"{len(self.sha256)} characters"
            )
        if not self.rights:
            raise InvalidArgument(f"Token {self.name} has no rights; there are {_choices()}")
        if self.expires is not None and self.expires.tzinfo is None:
            raise InvalidArgument(
                f"Token {self.name} expires at {self.expires}, which needs a time zone, such as "
                f"{self.expires.isoformat()}Z"
            )

    def has_expired(self, now: datetime) -> bool:
        """Return whether it is good no longer."""
        return self.expires is not None and now >= self.expires


class Tokens:
    """The tokens that are taken. Raises `InvalidArgument` for two of the same name or hash."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        if len(tokens) > MAX_TOKENS:
            raise InvalidArgument(f"{len(tokens)} tokens are listed; {MAX_TOKENS} can be")
        _check_distinct("name", [token.name for token in tokens])
        _check_distinct("sha256", [token.sha256 for token in tokens])
        self._tokens = tuple(tokens)
        self._by_start: dict[bytes, list[tuple[bytes, Token]]] = {}
        for token in tokens:
            digest = bytes.fromhex(token.sha256)
            self._by_start.setdefault(digest[:4], []).append((digest, token))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokens) and self._tokens == other._tokens

    def __hash__(self) -> int:
        return hash(self._tokens)

    def __len__(self) -> int:
        return len(self._tokens)

    def find(self, secret: str) -> Token | None:
        """Return the token that `secret` is, None if it is none of them; it may have expired.

        How long it takes says nothing about the tokens: hashes are compared in constant time, and
        which of them are compared depends on the hash of what was sent, not on the secret.
        """
        digest = sha256(secret)
        for known, token in self._by_start.get(digest[:4], ()):
            if hmac.compare_digest(known, digest):
                return token
        return None


def _check_distinct(what: str, values: Sequence[str]) -> None:
    value, count = max(Counter(values).items(), key=lambda item: item[1], default=("", 0))
    if count > 1:
        raise InvalidArgument(f"{count} tokens have the same {what}: {value}")


def sha256(secret: str) -> bytes:
    """Return the hash by which a token is known."""
    return hashlib.sha256(secret.encode()).digest()


def make_secret() -> str:
    """Return a new token: 256 random bits as text."""
    return _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)


def rights(names: Collection[str]) -> frozenset[Right]:
    """Return the rights of these names. Raises `InvalidArgument` for one that there is not."""
    known = {right.value for right in Right}
    for name in names:
        if name not in known:
            raise InvalidArgument(f"There is no right {name!r}; there are {_choices()}")
    return frozenset(map(Right, names))


def now() -> datetime:
    """Return the time of day, by which tokens expire."""
    return datetime.now(UTC)


def _choices() -> str:
    return ", ".join(right.value for right in Right)
