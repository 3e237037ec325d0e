"""TLS on both ports, with certificates made for the occasion."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf import text_format

from sigrun._gen.tensorflow_serving.config.ssl_config_pb2 import SSLConfig
from sigrun.config.server import AdminOptions, GrpcOptions, HttpOptions, TlsOptions, Transport
from sigrun.errors import InvalidArgument
from sigrun.wire.config_files.options import tls_options
from tests.wire.clients import NAME, PATIENCE_S, failure, predict_request
from tests.wire.rig import HOST, Rig

OPENSSL = shutil.which("openssl")

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.skipif(OPENSSL is None, reason="certificates are made with the openssl command"),
]


@dataclass(frozen=True, slots=True)
class Identity:
    """A private key and its certificate, PEM."""

    key: bytes
    cert: bytes


def openssl(*arguments: str) -> None:
    assert OPENSSL is not None
    subprocess.run([OPENSSL, *arguments], check=True, capture_output=True, timeout=5)


def make_identity(folder: Path, name: str) -> Identity:
    """Make a self-signed certificate for the loopback address."""
    key, cert = folder / f"{name}.key", folder / f"{name}.pem"
    openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
        *("-nodes", "-days", "2", "-subj", f"/CN={name}"),
        *("-addext", f"subjectAltName=IP:{HOST},DNS:{name}"),
        *("-keyout", str(key), "-out", str(cert)),
    )
    return Identity(key.read_bytes(), cert.read_bytes())


@pytest.fixture(scope="module")
def server_identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return make_identity(tmp_path_factory.mktemp("certificates"), "server")


@pytest.fixture(scope="module")
def client_identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return make_identity(tmp_path_factory.mktemp("certificates"), "client")


def options(server: Identity, client: Identity | None = None) -> GrpcOptions:
    tls = TlsOptions(
        server_key=server.key,
        server_cert=server.cert,
        custom_ca=client.cert if client else b"",
        verify_client=client is not None,
    )
    return GrpcOptions(host=HOST, port=0, tls=tls)


def credentials(server: Identity, client: Identity | None = None) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        root_certificates=server.cert,
        private_key=client.key if client else None,
        certificate_chain=client.cert if client else None,
    )


async def test_a_client_that_trusts_the_server_is_answered(
    rig: Rig, server_identity: Identity
) -> None:
    await rig.start(grpc=options(server_identity))

    client = rig.client(credentials=credentials(server_identity))

    assert (await client.predict(1)).model_spec.version.value == 1
    assert await client.check() == "SERVING"


async def test_a_client_without_tls_is_not_answered(rig: Rig, server_identity: Identity) -> None:
    client = await rig.start(grpc=options(server_identity))

    code, _ = await failure(client.call(predict_request(1), timeout_s=2))

    assert code == "UNAVAILABLE"
    assert rig.servable().runs == []


async def test_a_client_that_trusts_another_server_leaves(
    rig: Rig, server_identity: Identity, client_identity: Identity
) -> None:
    await rig.start(grpc=options(server_identity))

    client = rig.client(credentials=credentials(client_identity))
    code, _ = await failure(client.call(predict_request(1), timeout_s=2))

    assert code == "UNAVAILABLE"


async def test_a_client_may_be_asked_for_its_certificate(
    rig: Rig, server_identity: Identity, client_identity: Identity
) -> None:
    await rig.start(grpc=options(server_identity, client_identity))
    known = rig.client(credentials=credentials(server_identity, client_identity))
    unknown = rig.client(credentials=credentials(server_identity))

    assert (await known.predict(1)).model_spec.version.value == 1
    code, _ = await failure(unknown.call(predict_request(1), timeout_s=2))
    assert code == "UNAVAILABLE"


async def test_a_unix_socket_has_tls_as_well(
    rig: Rig, server_identity: Identity, tmp_path: Path
) -> None:
    path = tmp_path / "grpc.sock"
    tls = options(server_identity).tls
    rig.add_version(1)
    await rig.build(grpc=GrpcOptions(port=None, socket_path=str(path), tls=tls)).start()

    plain = rig.client(f"unix:{path}")
    code, _ = await failure(plain.call(predict_request(1), timeout_s=2))

    assert code == "UNAVAILABLE"


async def test_administration_has_tls_as_well(rig: Rig, server_identity: Identity) -> None:
    await rig.start(admin=AdminOptions(host=HOST, tls=options(server_identity).tls))
    assert rig.server.admin is not None
    address = f"{HOST}:{rig.server.admin.port}"

    known = rig.client(address, credentials(server_identity))
    plain = rig.client(address)

    assert await known.check() == "SERVING"
    code, _ = await failure(plain.call(predict_request(1), timeout_s=2))
    assert code == "UNAVAILABLE"


@pytest.mark.parametrize(
    "tls",
    [
        TlsOptions(server_key=b"no key", server_cert=b"no certificate"),
        TlsOptions(server_key=b"", server_cert=b""),
    ],
    ids=["nonsense", "nothing"],
)
async def test_a_certificate_that_is_none_is_told(rig: Rig, tls: TlsOptions) -> None:
    with pytest.raises(InvalidArgument, match=r"^gRPC cannot use its TLS settings: "):
        await rig.start(grpc=GrpcOptions(host=HOST, port=0, tls=tls))


async def test_clients_cannot_be_verified_without_an_authority(
    rig: Rig, server_identity: Identity
) -> None:
    tls = TlsOptions(
        server_key=server_identity.key, server_cert=server_identity.cert, verify_client=True
    )

    with pytest.raises(InvalidArgument, match=r"^gRPC cannot use its TLS settings: "):
        await rig.start(grpc=GrpcOptions(host=HOST, port=0, tls=tls))


class TestHttp:
    def options(self, server: Identity, client: Identity | None = None) -> HttpOptions:
        return HttpOptions(host=HOST, port=0, tls=options(server, client).tls)

    async def status(self, rig: Rig, trusted: Identity, known_as: Identity | None = None) -> int:
        context = ssl.create_default_context(cadata=trusted.cert.decode())
        if known_as is not None:
            path = rig.folder / "identity.pem"
            path.write_bytes(known_as.key + known_as.cert)
            context.load_cert_chain(path)
        assert rig.server.http is not None
        async with httpx.AsyncClient(verify=context, timeout=PATIENCE_S) as http:
            url = f"https://{HOST}:{rig.server.http.port}/v1/models/{NAME}:predict"
            return (await http.post(url, json={"instances": [1.0] * 100_000})).status_code

    async def test_a_client_that_trusts_the_server_is_answered(
        self, rig: Rig, server_identity: Identity
    ) -> None:
        await rig.start(http=self.options(server_identity))

        assert await self.status(rig, server_identity) == 200

    async def test_others_are_not(
        self, rig: Rig, server_identity: Identity, client_identity: Identity
    ) -> None:
        await rig.start(http=self.options(server_identity))

        with pytest.raises(httpx.ConnectError):
            await self.status(rig, client_identity)
        with pytest.raises(httpx.RemoteProtocolError):
            await rig.http().get("/livez")
        assert rig.servable().runs == []

    async def test_a_client_may_be_asked_for_its_certificate(
        self, rig: Rig, server_identity: Identity, client_identity: Identity
    ) -> None:
        await rig.start(http=self.options(server_identity, client_identity))

        assert await self.status(rig, server_identity, client_identity) == 200
        with pytest.raises(httpx.TransportError):
            await self.status(rig, server_identity)

    @pytest.mark.parametrize("verify_client", [False, True])
    async def test_certificates_that_cannot_be_used_are_told(
        self, rig: Rig, server_identity: Identity, verify_client: bool
    ) -> None:
        tls = TlsOptions(
            server_key=server_identity.key if verify_client else b"no key",
            server_cert=server_identity.cert,
            verify_client=verify_client,
        )

        with pytest.raises(InvalidArgument, match=r"^HTTP cannot use its TLS settings: "):
            await rig.start(http=HttpOptions(host=HOST, port=0, tls=tls))


class TestRotation:
    """Certificates are read again when their file changes."""

    def write(self, file: Path, server: Identity, ca: bytes = b"") -> None:
        config = SSLConfig(
            server_key=server.key.decode(),
            server_cert=server.cert.decode(),
            custom_ca=ca.decode(),
            client_verify=bool(ca),
        )
        new = file.with_suffix(".new")
        new.write_text(text_format.MessageToString(config))
        new.replace(file)

    async def options(self, file: Path, transport: Transport = Transport.OWN) -> dict[str, Any]:
        tls = await asyncio.to_thread(tls_options, file)
        return {
            "grpc": GrpcOptions(host=HOST, port=0, tls=tls, transport=transport),
            "http": HttpOptions(host=HOST, port=0, tls=tls),
        }

    async def shown(self, port: int | None) -> bytes:
        """Return the certificate that a new connection is shown, DER."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        _, writer = await asyncio.open_connection(HOST, port, ssl=context)
        certificate: bytes = writer.get_extra_info("ssl_object").getpeercert(True)
        writer.close()
        return certificate

    @pytest.mark.parametrize("transport", Transport)
    async def test_new_connections_are_shown_the_new_one_and_no_request_fails(
        self,
        rig: Rig,
        server_identity: Identity,
        client_identity: Identity,
        transport: Transport,
    ) -> None:
        file = rig.folder / "ssl.config"
        self.write(file, server_identity)
        await rig.start(**await self.options(file, transport))
        assert rig.server.http is not None
        ports = [rig.server.grpc.port, rig.server.http.port]
        both = server_identity.cert + client_identity.cert
        trusts = ssl.create_default_context(cadata=both.decode())
        url = f"https://{HOST}:{ports[1]}/v1/models/{NAME}:predict"
        is_over, answers = asyncio.Event(), asyncio.Semaphore(0)

        async def ask_over_one_connection() -> None:
            client = rig.client(credentials=grpc.ssl_channel_credentials(both))
            while not is_over.is_set():
                await client.predict(1)
                answers.release()

        async def ask_over_new_connections() -> None:
            while not is_over.is_set():
                async with httpx.AsyncClient(verify=trusts, timeout=PATIENCE_S) as http:
                    answer = await http.post(url, json={"instances": [1.0]})
                    assert answer.status_code == 200, answer.text
                answers.release()

        async def twenty_answers() -> None:
            for _ in range(20):
                await answers.acquire()

        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
            for _ in range(2):
                tasks.create_task(ask_over_one_connection())
                tasks.create_task(ask_over_new_connections())
            await twenty_answers()
            before = [await self.shown(port) for port in ports]
            self.write(file, client_identity)
            await rig.server.look_at_files()
            after = [await self.shown(port) for port in ports]
            await twenty_answers()
            is_over.set()

        old, new = (
            ssl.PEM_cert_to_DER_cert(identity.cert.decode())
            for identity in (server_identity, client_identity)
        )
        assert (before, after) == ([old, old], [new, new])

    @pytest.mark.parametrize("transport", Transport)
    async def test_a_broken_file_keeps_the_old_one_and_says_so(
        self,
        rig: Rig,
        server_identity: Identity,
        client_identity: Identity,
        transport: Transport,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        file = rig.folder / "ssl.config"
        self.write(file, server_identity)
        await rig.start(**await self.options(file, transport))

        self.write(file, Identity(key=client_identity.key, cert=server_identity.cert))
        await rig.server.look_at_files()
        await rig.server.look_at_files()

        client = rig.client(credentials=credentials(server_identity))
        assert (await client.predict(1)).model_spec.version.value == 1
        kept = [line for line in caplog.messages if "as before stay in force" in line]
        assert len(kept) == 2  # one for each port
        assert all("cannot use its TLS settings" in line for line in kept)
        assert "PRIVATE KEY" not in caplog.text

    async def test_clients_may_be_asked_for_certificates_of_another_authority(
        self, rig: Rig, server_identity: Identity, client_identity: Identity
    ) -> None:
        file = rig.folder / "ssl.config"
        self.write(file, server_identity)
        await rig.start(**await self.options(file))

        self.write(file, server_identity, ca=client_identity.cert)
        await rig.server.look_at_files()

        known = rig.client(credentials=credentials(server_identity, client_identity))
        unknown = rig.client(credentials=credentials(server_identity))
        assert (await known.predict(1)).model_spec.version.value == 1
        code, _ = await failure(unknown.call(predict_request(1), timeout_s=2))
        assert code == "UNAVAILABLE"
