"""TLS with ALPN, and clients that are not ours: curl, nghttp, h2load."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import ssl
from pathlib import Path

import httpx
import pytest

from sigrun.config.server import TlsOptions
from sigrun.errors import InvalidArgument
from sigrun.wire.transport.limits import Limits
from sigrun.wire.transport.service import Spoken
from tests.wire.test_tls import OPENSSL, Identity, make_identity
from tests.wire.transport.desk import Desk, read_answer, request, until
from tests.wire.transport.h2_client import HOST, PATIENCE_S

pytestmark = [pytest.mark.asyncio, pytest.mark.timeout(60)]

needs_openssl = pytest.mark.skipif(
    OPENSSL is None, reason="certificates are made with the openssl command"
)


def needs(tool: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(tool) is None, reason=f"{tool} is not installed")


@pytest.fixture(scope="module")
def server_identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return make_identity(tmp_path_factory.mktemp("certificates"), "server")


@pytest.fixture(scope="module")
def client_identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return make_identity(tmp_path_factory.mktemp("certificates"), "client")


def trusting(server: Identity, *alpn: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=server.cert.decode())
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


def tls(server: Identity, client: Identity | None = None) -> TlsOptions:
    return TlsOptions(
        server_key=server.key,
        server_cert=server.cert,
        custom_ca=client.cert if client is not None else b"",
        verify_client=client is not None,
    )


@needs_openssl
class TestTls:
    async def test_http2_is_agreed_on(self, desk: Desk, server_identity: Identity) -> None:
        listener = await desk.listen(tls=tls(server_identity))

        client = await desk.http2(listener, tls=trusting(server_identity, "h2", "http/1.1"))

        assert (await client.ask("/peer")).body.endswith(b" secure")
        assert (await client.ask("/echo", bytes(2_000_000))).body == bytes(2_000_000)

    @pytest.mark.parametrize("alpn", [["http/1.1"], []])
    async def test_http1_is_agreed_on_and_needs_no_agreement(
        self, desk: Desk, server_identity: Identity, alpn: list[str]
    ) -> None:
        listener = await desk.listen(tls=tls(server_identity))
        reader, writer = await desk.connect(listener, ssl=trusting(server_identity, *alpn))

        for body in (b"abc", bytes(2_000_000)):
            writer.write(request("/echo", body))
            assert await read_answer(reader) == (200, body)

    async def test_http2_needs_no_agreement_either(
        self, desk: Desk, server_identity: Identity
    ) -> None:
        listener = await desk.listen(tls=tls(server_identity))
        client = await desk.http2(listener, tls=trusting(server_identity))

        assert (await client.ask("/echo", b"abc")).body == b"abc"

    async def test_a_port_offers_what_it_speaks(
        self, desk: Desk, server_identity: Identity
    ) -> None:
        listener = await desk.listen(tls=tls(server_identity), spoken=[Spoken.HTTP1])
        context = trusting(server_identity, "h2", "http/1.1")
        _, writer = await desk.connect(listener, ssl=context)

        agreed = writer.get_extra_info("ssl_object").selected_alpn_protocol()

        assert agreed == "http/1.1"

    async def test_a_client_may_be_asked_for_its_certificate(
        self, desk: Desk, server_identity: Identity, client_identity: Identity, tmp_path: Path
    ) -> None:
        listener = await desk.listen(tls=tls(server_identity, client_identity))
        known = trusting(server_identity, "h2")
        pem = tmp_path / "client.pem"
        pem.write_bytes(client_identity.key + client_identity.cert)
        known.load_cert_chain(pem)

        client = await desk.http2(listener, tls=known)
        assert (await client.ask("/echo", b"abc")).body == b"abc"

        reader, writer = await desk.connect(listener, ssl=trusting(server_identity))
        writer.write(request("/echo"))
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            assert await reader.read() == b""
        await until(lambda: listener.statistics().connections == 1)

    async def test_who_does_not_speak_tls_is_let_go(
        self, desk: Desk, server_identity: Identity
    ) -> None:
        listener = await desk.listen(tls=tls(server_identity))
        reader, writer = await desk.connect(listener)

        writer.write(request("/echo"))
        await reader.read()

        await until(lambda: listener.statistics().connections == 0)
        assert desk.application.begun == []

    async def test_a_handshake_that_takes_too_long_is_given_up(
        self, desk: Desk, server_identity: Identity
    ) -> None:
        listener = await desk.listen(
            tls=tls(server_identity), limits=Limits(head_timeout_s=0.1, tick_s=0.02)
        )
        await desk.connect(listener)
        await until(lambda: listener.statistics().connections == 1)

        await until(lambda: listener.statistics().connections == 0)

    async def test_a_handshake_holds_up_no_stop(
        self, desk: Desk, server_identity: Identity
    ) -> None:
        listener = await desk.listen(tls=tls(server_identity))
        await desk.connect(listener)
        await until(lambda: listener.statistics().connections == 1)

        async with asyncio.timeout(2):
            await listener.stop(0.1)

        assert listener.statistics().connections == 0

    async def test_certificates_that_cannot_be_used_are_told(
        self, desk: Desk, server_identity: Identity
    ) -> None:
        wrong = TlsOptions(server_key=b"no key", server_cert=server_identity.cert)
        with pytest.raises(InvalidArgument, match="cannot use its TLS settings"):
            await desk.listen(tls=wrong)

        unverifiable = TlsOptions(
            server_key=server_identity.key, server_cert=server_identity.cert, verify_client=True
        )
        with pytest.raises(InvalidArgument, match="client_verify needs a custom_ca"):
            await desk.listen(tls=unverifiable)

    async def test_httpx_is_answered(self, desk: Desk, server_identity: Identity) -> None:
        listener = await desk.listen(tls=tls(server_identity))
        url = f"https://{HOST}:{listener.port}/echo"
        async with httpx.AsyncClient(verify=trusting(server_identity)) as http:
            answer = await http.post(url, content=b"abc")

        assert answer.content == b"abc"

    @needs("curl")
    @pytest.mark.parametrize("version", ["--http1.1", "--http2"])
    async def test_curl_is_answered(
        self, desk: Desk, server_identity: Identity, tmp_path: Path, version: str
    ) -> None:
        listener = await desk.listen(tls=tls(server_identity))
        trusted = tmp_path / "server.pem"
        trusted.write_bytes(server_identity.cert)

        url = f"https://{HOST}:{listener.port}/echo"
        output = await run("curl", "-sS", version, "--cacert", str(trusted), "-d", "abc", url)

        assert output == b"abc"


async def run(*command: str) -> bytes:
    """Return what a command prints; it must not fail."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(PATIENCE_S):
        output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output


class TestTools:
    @needs("curl")
    @pytest.mark.parametrize("version", ["--http1.0", "--http1.1", "--http2-prior-knowledge"])
    async def test_curl_gets_what_it_sends(self, desk: Desk, tmp_path: Path, version: str) -> None:
        listener = await desk.listen()
        url = f"http://{HOST}:{listener.port}/echo"
        body = tmp_path / "body"
        body.write_bytes(bytes(range(256)) * 10_000)

        output = await run("curl", "-sS", version, "--data-binary", f"@{body}", url)

        assert output == body.read_bytes()

    @needs("curl")
    @pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
    async def test_curl_sees_an_answer_to_head(self, desk: Desk, version: str) -> None:
        listener = await desk.listen()

        url = f"http://{HOST}:{listener.port}/large?1000"
        output = await run("curl", "-sS", version, "--head", url)

        assert b" 200" in output
        assert b"content-length: 1000" in output.lower()

    @needs("nghttp")
    async def test_nghttp_is_answered_with_trailers(self, desk: Desk, tmp_path: Path) -> None:
        listener = await desk.listen()
        body = tmp_path / "body"
        body.write_bytes(b"abc" * 100_000)

        url = f"http://{HOST}:{listener.port}/echo"
        output = await run("nghttp", "-v", "-n", "-d", str(body), "-m", "20", url)

        assert output.count(b"grpc-status: 0") == 20
        assert b"error" not in output.lower().replace(b"error_code=no_error", b"")

    @needs("h2load")
    @pytest.mark.parametrize("version", [["--h1"], ["-m", "16"]])
    async def test_h2load_is_answered(self, desk: Desk, tmp_path: Path, version: list[str]) -> None:
        listener = await desk.listen()
        body = tmp_path / "body"
        body.write_bytes(b"abc")

        url = f"http://{HOST}:{listener.port}/echo"
        output = await run("h2load", "-n", "2000", "-c", "8", *version, "-d", str(body), url)

        assert b"2000 succeeded, 0 failed, 0 errored" in output
        assert desk.application.answered == 2000
