"""Tokens on every door: who shows none, a wrong one, or one without the right, is not answered."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from sigrun._gen.tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest
from sigrun._gen.tensorflow_serving.apis.model_pb2 import ModelSpec
from sigrun.cli.token import entry
from sigrun.config.access import Right, Token, sha256
from sigrun.config.gateway import GatewayConfig, UpstreamOptions
from sigrun.config.server import GrpcOptions, Transport
from sigrun.errors import Code
from sigrun.gateway import Gateway
from sigrun.wire.config_files import tokens
from sigrun.wire.status import HTTP_STATUS
from tests.wire.clients import NAME, PATIENCE_S, GrpcClient
from tests.wire.gateways import address_of, client_of, url_of
from tests.wire.rig import HOST, HTTP, Rig

pytestmark = pytest.mark.asyncio

STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
BODY = GetModelStatusRequest(model_spec=ModelSpec(name=NAME)).SerializeToString()

ASKS, SCRAPES, OLD, GATEWAY = "asks-secret", "scrapes-secret", "old-secret", "gateway-secret"


def token(secret: str, *rights: Right, expires: datetime | None = None) -> Token:
    return Token(
        name=secret.removesuffix("-secret"),
        sha256=sha256(secret).hex(),
        rights=frozenset(rights),
        expires=expires,
    )


TOKENS = (
    token(ASKS, Right.INFERENCE),
    token(SCRAPES, Right.METRICS),
    token(OLD, Right.INFERENCE, expires=datetime(2020, 1, 1, tzinfo=UTC)),
    token(GATEWAY, Right.INFERENCE),
)


def write(file: Path, *listed: Token) -> None:
    """Put these tokens into the file, at once, as an editor would."""
    write_text(file, "\n".join(map(entry, listed)))


def write_text(file: Path, text: str) -> None:
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "tokens.toml"
    write(file, *TOKENS)
    return file


async def asking(file: Path) -> dict[str, Any]:
    """Return the settings of a server that takes the tokens in the file."""
    return {
        "auth_tokens_file": file,
        "tokens": await asyncio.to_thread(tokens.from_file, file),
    }


Ask = Callable[[dict[str, str]], Awaitable[str]]
"""Asks for a status with these headers, and returns the name of the code of the answer."""


def by_grpc(client: GrpcClient, path: str = STATUS, body: bytes = BODY) -> Ask:
    async def ask(headers: dict[str, str]) -> str:
        method = client.channel.unary_unary(path, bytes, bytes)
        try:
            await method(body, timeout=PATIENCE_S, metadata=tuple(headers.items()))
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return "OK"

    return ask


def by_http(http: httpx.AsyncClient, path: str = f"/v1/models/{NAME}") -> Ask:
    async def ask(headers: dict[str, str]) -> str:
        return said_by(await http.get(path, headers=headers))

    return ask


def by_connect(http: httpx.AsyncClient) -> Ask:
    async def ask(headers: dict[str, str]) -> str:
        kind = {"content-type": "application/proto"}
        return said_by(await http.post(STATUS, content=BODY, headers=headers | kind))

    return ask


def said_by(answer: httpx.Response) -> str:
    """Return the code in an answer over HTTP, whose status has to fit it."""
    if answer.status_code == 200:
        return "OK"
    code = Code[answer.json()["code"].upper()]
    assert answer.status_code == HTTP_STATUS[code]
    assert (answer.headers.get("www-authenticate") == "Bearer") == (code is Code.UNAUTHENTICATED)
    return code.name


def by_grpc_web(http: httpx.AsyncClient) -> Ask:
    async def ask(headers: dict[str, str]) -> str:
        kind = {"content-type": "application/grpc-web-text"}
        frame = base64.b64encode(b"\0" + len(BODY).to_bytes(4, "big") + BODY)
        answer = await http.post(STATUS, content=frame, headers=headers | kind)
        assert answer.status_code == 200
        said = answer.headers.get("grpc-status")
        if said is None:
            trailers = base64.b64decode(answer.content).partition(b"grpc-status:")[2]
            said = trailers.split()[0].decode()
        return Code(int(said)).name

    return ask


@asynccontextmanager
async def gateway_to(rig: Rig, file: Path | None, token: str) -> AsyncIterator[httpx.AsyncClient]:
    options = UpstreamOptions(addresses=(address_of(rig),), token=token)
    config = GatewayConfig(upstream=options, http=HTTP, **(await asking(file) if file else {}))
    async with client_of(config) as client:
        yield client


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


async def what_each_is_told(ask: Ask) -> dict[str, str]:
    shown = {
        "none": {},
        "wrong": bearer("no-such-secret"),
        "expired": bearer(OLD),
        "without the right": bearer(SCRAPES),
        "right": bearer(ASKS),
        "right, as a key": {"x-api-key": ASKS},
    }
    return {case: await ask(headers) for case, headers in shown.items()}


TOLD = {
    "none": "UNAUTHENTICATED",
    "wrong": "UNAUTHENTICATED",
    "expired": "UNAUTHENTICATED",
    "without the right": "PERMISSION_DENIED",
    "right": "OK",
    "right, as a key": "OK",
}


async def test_every_door_asks_for_a_token_and_none_is_logged(
    rig: Rig, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "sigrun")
    grpc_client = await rig.start(http=HTTP, access_log=True, **await asking(file))
    http = rig.http()
    assert rig.server.http is not None
    on_http_port = rig.client(f"{HOST}:{rig.server.http.port}")
    async with gateway_to(rig, file, GATEWAY) as gateway:
        doors = {
            "gRPC": by_grpc(grpc_client),
            "gRPC on the HTTP port": by_grpc(on_http_port),
            "JSON": by_http(http),
            "Connect": by_connect(http),
            "gRPC-Web": by_grpc_web(http),
            "JSON of a gateway": by_http(gateway),
            "Connect of a gateway": by_connect(gateway),
            "gRPC-Web of a gateway": by_grpc_web(gateway),
        }

        told = {door: await what_each_is_told(ask) for door, ask in doors.items()}

    write(file, token("new-secret", Right.INFERENCE))
    await rig.server.look_at_files()
    of_server = {door: ask for door, ask in doors.items() if "gateway" not in door}
    revoked = {door: await ask(bearer(ASKS)) for door, ask in of_server.items()}
    new = {door: await ask(bearer("new-secret")) for door, ask in of_server.items()}
    await rig.stop()

    assert told == dict.fromkeys(doors, TOLD)
    assert revoked == dict.fromkeys(of_server, "UNAUTHENTICATED")
    assert new == dict.fromkeys(of_server, "OK")
    assert any("GetModelStatus UNAUTHENTICATED" in line for line in caplog.messages)
    assert not [line for line in caplog.messages if "-secret" in line]


async def test_the_token_of_a_gateway_is_read_again_when_it_changes(
    rig: Rig, file: Path, tmp_path: Path
) -> None:
    await rig.start(**await asking(file))
    shown = tmp_path / "token"
    shown.write_text(f"{SCRAPES}\n")
    options = UpstreamOptions(addresses=(address_of(rig),), token=SCRAPES, token_file=shown)
    gateway = Gateway(GatewayConfig(upstream=options, http=HTTP))
    await gateway.start()
    async with httpx.AsyncClient(base_url=url_of(gateway), timeout=PATIENCE_S) as http:
        ask = by_http(http)
        told = [await ask({})]
        for text in (ASKS, "", "zwei\nlines"):
            shown.write_text(text)
            await gateway.look_at_files()
            told.append(await ask({}))
    await gateway.stop(grace_s=0)

    assert told == ["PERMISSION_DENIED", "OK", "OK", "OK"]


async def test_grpcio_asks_for_a_token_too(rig: Rig, file: Path) -> None:
    options = GrpcOptions(host=HOST, port=0, transport=Transport.GRPCIO)
    client = await rig.start(grpc=options, **await asking(file))

    assert await what_each_is_told(by_grpc(client)) == TOLD


async def test_administration_is_another_right(rig: Rig, file: Path) -> None:
    write(file, *TOKENS, token("rules-secret", Right.ADMINISTRATION))
    client = await rig.start(**await asking(file))
    reload = by_grpc(client, RELOAD, b"")

    assert await reload(bearer(ASKS)) == "PERMISSION_DENIED"
    assert await reload(bearer("rules-secret")) == "INVALID_ARGUMENT"  # it names no models
    assert await by_grpc(client)(bearer("rules-secret")) == "OK"


async def test_a_token_that_is_removed_is_taken_no_more_and_a_new_one_is(
    rig: Rig, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sigrun")
    client = await rig.start(**await asking(file))
    ask = by_grpc(client)
    assert await ask(bearer(ASKS)) == "OK"

    write(file, token("new-secret", Right.INFERENCE))
    await rig.server.look_at_files()

    assert await ask(bearer(ASKS)) == "UNAUTHENTICATED"
    assert await ask(bearer("new-secret")) == "OK"
    assert f"took over the changed tokens in {file}" in caplog.messages


async def test_a_broken_file_keeps_the_tokens_before(
    rig: Rig, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = await rig.start(**await asking(file))

    write_text(file, "[[token")
    await rig.server.look_at_files()

    assert await by_grpc(client)(bearer(ASKS)) == "OK"
    assert [line for line in caplog.messages if "as before stay in force: Invalid file" in line]


async def test_probes_and_health_ask_for_none_and_metrics_for_their_own(
    rig: Rig, file: Path
) -> None:
    client = await rig.start(http=HTTP, **await asking(file))
    http = rig.http()

    assert await client.check() == "SERVING"
    assert await by_http(http, "/livez")({}) == "OK"
    assert await by_http(http, "/readyz")({}) == "OK"
    metrics = by_http(http, "/metrics")
    assert await metrics({}) == "UNAUTHENTICATED"
    assert await metrics(bearer(ASKS)) == "PERMISSION_DENIED"
    assert await metrics(bearer(SCRAPES)) == "OK"


async def test_a_gateway_shows_its_own_token_and_never_its_callers(rig: Rig, file: Path) -> None:
    await rig.start(**await asking(file))

    async with gateway_to(rig, None, GATEWAY) as known:
        predict = await known.post(f"/v1/models/{NAME}:predict", json={"instances": [1.0]})
        assert predict.status_code == 200
    async with gateway_to(rig, None, "") as unknown:
        assert await by_http(unknown)(bearer(ASKS)) == "UNAUTHENTICATED"
