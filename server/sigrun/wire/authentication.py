"""Who may call what: an interceptor that knows callers by their tokens, on every door.

In: `authorization: Bearer TOKEN` or `x-api-key: TOKEN`, as gRPC metadata or as a header of HTTP.
Out: the call, or UNAUTHENTICATED (401) for no token, a wrong one or one that has expired, and
PERMISSION_DENIED (403) for one that has no right to the method.

Health (`grpc.health.v1`), `/livez` and `/readyz` ask for no token: whoever restarts servers and
sends them traffic has none. Reflection asks for none, since it describes what is public. A method
that no rule names takes the right to administrate, so that a new one is not open by oversight.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import NamedTuple

from sigrun.config.access import Right, Token, Tokens, now
from sigrun.errors import PermissionDenied, Unauthenticated
from sigrun.inference.context import CallContext, Metadata
from sigrun.wire.http.messages import HeaderMetadata
from sigrun.wire.interceptors import Answer, Reply, Request

logger = logging.getLogger(__name__)

Rights = frozenset[Right]

_ASKING: Rights = frozenset({Right.INFERENCE})
_ADMINISTRATION: Rights = frozenset({Right.ADMINISTRATION})
_LOOKING: Rights = frozenset({Right.INFERENCE, Right.ADMINISTRATION})
_HEALTH = "grpc.health.v1.Health/"

_RIGHTS: Mapping[str, Rights] = {
    "tensorflow.serving.PredictionService/Predict": _ASKING,
    "tensorflow.serving.PredictionService/Classify": _ASKING,
    "tensorflow.serving.PredictionService/Regress": _ASKING,
    "tensorflow.serving.PredictionService/MultiInference": _ASKING,
    "tensorflow.serving.PredictionService/GetModelMetadata": _LOOKING,
    "tensorflow.serving.ModelService/GetModelStatus": _LOOKING,
    "sigrun.v1.ModelManagementService/ListModels": _LOOKING,
    "/v1/models:predict": _ASKING,
    "/v1/models:classify": _ASKING,
    "/v1/models:regress": _ASKING,
    "/v1/models:metadata": _LOOKING,
    "/v1/models:status": _LOOKING,
    "/v1/models:models": _LOOKING,
    "/metrics": frozenset({Right.METRICS}),
}
"""Any one of these rights is enough for the method."""

_HOW = "send it as `authorization: Bearer TOKEN` or as `x-api-key: TOKEN`"


class Authentication:
    """An interceptor; `use` puts other tokens in the place of those that are taken."""

    def __init__(self, tokens: Tokens, clock: Callable[[], datetime] = now) -> None:
        self.tokens = tokens
        self._clock = clock

    def use(self, tokens: Tokens) -> None:
        """Take these tokens and no others from now on; calls under way go on."""
        self.tokens = tokens

    def intercept(self, method: str, answer: Answer[Request, Reply]) -> Answer[Request, Reply]:
        """Return `answer` for those who have a right to `method`."""
        if method.startswith(_HEALTH):
            return answer
        rights = _RIGHTS.get(method, _ADMINISTRATION)
        is_audited = rights == _ADMINISTRATION

        # Not a coroutine: every request would pay for a frame that only waits.
        def authenticated(request: Request, context: CallContext) -> Awaitable[Reply]:
            # What is found for the headers of one call holds for all that send the same. No secret
            # is kept by that: it stays with the headers, which are known for as long.
            metadata, headers, known = context.metadata, None, None
            if type(metadata) is HeaderMetadata:
                headers = metadata if metadata.base is None else metadata.base
                known = headers.memo
            if known is None or known.tokens is not self.tokens:
                known = self._find(metadata)
                if headers is not None:
                    headers.memo = known
            token: Token = known.token
            if token.expires is not None and token.has_expired(self._clock()):
                raise Unauthenticated(f"Token {token.name} has expired")
            if token.rights.isdisjoint(rights):
                raise PermissionDenied(
                    f"Token {token.name} has no right to {method}: it takes "
                    f"{_either(rights)}, and the token has {_either(token.rights)}"
                )
            if is_audited:
                peer = context.peer or "unknown"
                logger.info("token %s calls %s from %s", token.name, method, peer)
            return answer(request, context)

        return authenticated

    def _find(self, metadata: Metadata) -> _Known:
        """Find out whose call it is. Texts never hold what was sent: it may be nearly right."""
        token = self.tokens.find(_secret(metadata))
        if token is None:
            raise Unauthenticated("The token is not one of those that are taken here")
        return _Known(self.tokens, token)


class _Known(NamedTuple):
    """Whose the headers are, by these tokens."""

    tokens: Tokens
    token: Token


def _secret(metadata: Metadata) -> str:
    header = metadata.get("authorization")
    if header is None:
        key = metadata.get("x-api-key")
        if not key:
            raise Unauthenticated(f"This server asks for a token: {_HOW}")
        return str(key)
    scheme, _, secret = str(header).partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not secret:
        raise Unauthenticated(f"The authorization header holds no bearer token: {_HOW}")
    return secret


def _either(rights: Rights) -> str:
    return " or ".join(sorted(right.value for right in rights))
