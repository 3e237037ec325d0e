"""Who may call what: every method has its rights, and every refusal its code."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from sigrun._gen.sigrun.v1 import model_management_pb2
from sigrun._gen.tensorflow_serving.apis import model_service_pb2, prediction_service_pb2
from sigrun.config.access import Right, Token, Tokens, sha256
from sigrun.errors import PermissionDenied, SigrunError, Unauthenticated
from sigrun.inference.context import CallContext, Door
from sigrun.wire import authentication
from sigrun.wire.authentication import Authentication
from sigrun.wire.http.messages import HeaderMetadata

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
PREDICT = "tensorflow.serving.PredictionService/Predict"
RELOAD = "tensorflow.serving.ModelService/HandleReloadConfigRequest"
STATUS = "tensorflow.serving.ModelService/GetModelStatus"


def token(secret: str, *rights: Right, expires: datetime | None = None) -> Token:
    return Token(
        name=f"{secret}-owner",
        sha256=sha256(secret).hex(),
        rights=frozenset(rights),
        expires=expires,
    )


TOKENS = Tokens(
    [
        token("asks", Right.INFERENCE),
        token("rules", Right.ADMINISTRATION),
        token("scrapes", Right.METRICS),
        token("old", Right.INFERENCE, expires=NOON),
    ]
)


async def answer(request: bytes, context: CallContext) -> bytes:
    return request


def call(method: str, metadata: Mapping[str, str | bytes], tokens: Tokens = TOKENS) -> str:
    """Return what a caller is told: the name of a code."""
    guarded = Authentication(tokens, clock=lambda: NOON).intercept(method, answer)
    try:
        asyncio.run(guarded(b"request", CallContext(Door.REST, metadata=metadata)))  # type: ignore[arg-type]
    except SigrunError as error:
        return error.code.name
    return "OK"


def bearer(secret: str) -> dict[str, str | bytes]:
    return {"authorization": f"Bearer {secret}"}


def test_a_token_is_taken_from_either_header() -> None:
    assert call(PREDICT, bearer("asks")) == "OK"
    assert call(PREDICT, {"authorization": "bearer  asks "}) == "OK"
    assert call(PREDICT, {"x-api-key": "asks"}) == "OK"


def test_what_is_known_of_headers_ends_with_the_tokens_and_with_time() -> None:
    now = [NOON - timedelta(hours=1)]
    guard = Authentication(TOKENS, clock=lambda: now[0])
    guarded = guard.intercept(PREDICT, answer)
    base = HeaderMetadata({b"authorization": b"Bearer old"})
    varied = HeaderMetadata({b"authorization": b"Bearer old", b"grpc-timeout": b"1S"}, base)

    def code(metadata: HeaderMetadata) -> str:
        try:
            asyncio.run(guarded(b"request", CallContext(Door.GRPC, metadata=metadata)))  # type: ignore[arg-type]
        except SigrunError as error:
            return error.code.name
        return "OK"

    assert [code(varied), code(base), code(varied)] == ["OK"] * 3
    now[0] = NOON
    assert [code(varied), code(base)] == ["UNAUTHENTICATED"] * 2
    now[0] = NOON - timedelta(hours=1)
    guard.use(Tokens([token("new", Right.INFERENCE)]))
    assert [code(varied), code(base)] == ["UNAUTHENTICATED"] * 2
    guard.use(Tokens([token("old", Right.ADMINISTRATION)]))
    assert [code(varied), code(base)] == ["PERMISSION_DENIED"] * 2


def test_headers_that_were_good_for_one_method_are_looked_at_for_another(
    caplog: pytest.LogCaptureFixture,
) -> None:
    guard = Authentication(TOKENS)
    asks, rules = (HeaderMetadata({b"x-api-key": key}) for key in (b"asks", b"rules"))

    def code(method: str, metadata: HeaderMetadata) -> str:
        try:
            context = CallContext(Door.GRPC, metadata=metadata)
            asyncio.run(guard.intercept(method, answer)(b"request", context))  # type: ignore[arg-type]
        except SigrunError as error:
            return error.code.name
        return "OK"

    assert [code(PREDICT, asks), code(PREDICT, asks), code(STATUS, asks)] == ["OK"] * 3
    assert [code(RELOAD, asks), code("/metrics", asks)] == ["PERMISSION_DENIED"] * 2
    with caplog.at_level(logging.INFO, authentication.__name__):
        assert [code(STATUS, rules), code(RELOAD, rules), code(RELOAD, rules)] == ["OK"] * 3
    assert len(caplog.messages) == 2  # each time that something is administrated
    guard.use(Tokens([token("rules", Right.ADMINISTRATION)]))
    assert code(PREDICT, asks) == "UNAUTHENTICATED"


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": "asks"},
        {"authorization": "Basic YXNrczo="},
        {"authorization": "Basic YXNrczo=", "x-api-key": "asks"},
        {"authorization": "Bearer asks,Bearer asks"},
        {"x-api-key": ""},
        bearer("wrong"),
        bearer("old"),
        bearer("ÿ"),
    ],
    ids=str,
)
def test_without_a_token_that_is_good_nobody_is_answered(metadata: dict[str, str | bytes]) -> None:
    assert call(PREDICT, metadata) == "UNAUTHENTICATED"


@pytest.mark.parametrize(
    ("method", "asks", "rules", "scrapes"),
    [
        (PREDICT, "OK", "PERMISSION_DENIED", "PERMISSION_DENIED"),
        ("/v1/models:predict", "OK", "PERMISSION_DENIED", "PERMISSION_DENIED"),
        (STATUS, "OK", "OK", "PERMISSION_DENIED"),
        ("/v1/models:models", "OK", "OK", "PERMISSION_DENIED"),
        (RELOAD, "PERMISSION_DENIED", "OK", "PERMISSION_DENIED"),
        ("/metrics", "PERMISSION_DENIED", "PERMISSION_DENIED", "OK"),
        ("some.new.Service/Method", "PERMISSION_DENIED", "OK", "PERMISSION_DENIED"),
    ],
)
def test_each_method_takes_its_right(method: str, asks: str, rules: str, scrapes: str) -> None:
    assert call(method, bearer("asks")) == asks
    assert call(method, bearer("rules")) == rules
    assert call(method, bearer("scrapes")) == scrapes


def test_every_rule_names_a_method_that_there_is() -> None:
    services = (
        prediction_service_pb2.DESCRIPTOR.services_by_name["PredictionService"],
        model_service_pb2.DESCRIPTOR.services_by_name["ModelService"],
        model_management_pb2.DESCRIPTOR.services_by_name["ModelManagementService"],
    )
    methods = {
        f"{service.full_name}/{method.name}" for service in services for method in service.methods
    }

    named = {method for method in authentication._RIGHTS if not method.startswith("/")}

    changes = ("LoadModel", "UnloadModel", "ReloadModel", "SetLabels")
    assert methods - named == {
        RELOAD,
        *(f"sigrun.v1.ModelManagementService/{change}" for change in changes),
    }
    assert named <= methods


def test_health_is_answered_without_a_token() -> None:
    assert call("grpc.health.v1.Health/Check", {}) == "OK"


def test_tokens_that_are_put_in_their_place_count_at_once() -> None:
    guard = Authentication(TOKENS)
    guarded = guard.intercept(PREDICT, answer)
    context = CallContext(Door.GRPC, metadata=bearer("asks"))
    asyncio.run(guarded(b"", context))  # type: ignore[arg-type]

    guard.use(Tokens([token("new", Right.INFERENCE)]))

    with pytest.raises(Unauthenticated):
        asyncio.run(guarded(b"", context))  # type: ignore[arg-type]


def test_no_text_and_no_log_line_holds_what_was_sent(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    texts = []
    for secret, method in (("nearly-right", PREDICT), ("asks-nothing", RELOAD), ("asks", RELOAD)):
        guarded = Authentication(TOKENS).intercept(method, answer)
        with pytest.raises((Unauthenticated, PermissionDenied)) as told:
            asyncio.run(guarded(b"", CallContext(Door.GRPC, metadata=bearer(secret))))  # type: ignore[arg-type]
        texts.append(str(told.value))

    assert not [text for text in texts + caplog.messages if "nearly-right" in text]
    assert texts[-1] == (
        f"Token asks-owner has no right to {RELOAD}: it takes administration, and the token has "
        "inference"
    )


def test_what_administrators_do_is_logged_by_their_name(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    guarded = Authentication(TOKENS).intercept(RELOAD, answer)

    asyncio.run(guarded(b"", CallContext(Door.GRPC, peer="10.0.0.1:9", metadata=bearer("rules"))))  # type: ignore[arg-type]

    assert caplog.messages == [f"token rules-owner calls {RELOAD} from 10.0.0.1:9"]
