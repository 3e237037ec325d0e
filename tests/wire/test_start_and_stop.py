"""Where the server listens, how it starts, and how it leaves."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sigrun.config.models import ModelSet
from sigrun.config.server import GrpcOptions, HttpOptions
from sigrun.errors import DataLoss, Unavailable, Unknown
from sigrun.servables.state import State
from tests.wire.clients import NAME, failure, predict_request, soon
from tests.wire.rig import HOST, HTTP, Rig

pytestmark = pytest.mark.asyncio

PREDICT = f"/v1/models/{NAME}:predict"


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server((HOST, 0)) as listener:
        yield listener.getsockname()[1]


class TestAddresses:
    async def test_a_free_port_is_found_and_told(self, rig: Rig) -> None:
        await rig.start(http=HTTP)

        assert rig.server.grpc.port
        assert rig.server.http is not None
        assert rig.server.http.port
        assert rig.server.grpc.port != rig.server.http.port

    async def test_a_grpc_port_in_use_is_told_and_everything_else_stopped(
        self, rig: Rig, taken_port: int
    ) -> None:
        rig.add_version(1)
        server = rig.build(grpc=GrpcOptions(host=HOST, port=taken_port), http=HTTP)

        with pytest.raises(Unavailable, match=rf"^gRPC cannot listen on {HOST}:{taken_port}: "):
            await server.start()

        assert rig.state(1) is State.END
        assert server.http is not None
        with pytest.raises(httpx.ConnectError):
            await rig.http().get("/livez")

    async def test_the_port_of_another_grpc_server_is_in_use(
        self, rig: Rig, tmp_path: Path
    ) -> None:
        await rig.start()
        other = Rig(tmp_path / "other")
        server = other.build(
            models=ModelSet(), grpc=GrpcOptions(host=HOST, port=rig.server.grpc.port)
        )

        with pytest.raises(Unavailable, match="gRPC cannot listen on"):
            await server.start()

    async def test_an_http_port_in_use_is_told(self, rig: Rig, taken_port: int) -> None:
        rig.add_version(1)
        server = rig.build(http=HttpOptions(host=HOST, port=taken_port))

        text = rf"^HTTP cannot listen on {HOST}:{taken_port}: Address already in use"
        with pytest.raises(Unavailable, match=text):
            await server.start()

        assert rig.loaders == {}

    async def test_a_unix_socket_serves_beside_a_port(self, rig: Rig, tmp_path: Path) -> None:
        path = tmp_path / "grpc.sock"

        client = await rig.start(grpc=GrpcOptions(host=HOST, port=0, socket_path=str(path)))

        for each in (client, rig.client(f"unix:{path}")):
            assert (await each.predict(1)).model_spec.name == NAME

    async def test_a_unix_socket_may_be_all_there_is(self, rig: Rig, tmp_path: Path) -> None:
        path = tmp_path / "grpc.sock"
        rig.add_version(1)

        await rig.build(grpc=GrpcOptions(port=None, socket_path=str(path))).start()

        assert rig.server.grpc.port is None
        assert (await rig.client(f"unix:{path}").predict(1)).model_spec.name == NAME
        await rig.stop()
        assert not path.exists()

    async def test_a_unix_socket_that_cannot_be_made_is_told(
        self, rig: Rig, tmp_path: Path
    ) -> None:
        path = tmp_path / "nowhere" / "grpc.sock"
        rig.add_version(1)

        with pytest.raises(Unavailable, match=rf"^gRPC cannot listen on unix:{path}: "):
            await rig.build(grpc=GrpcOptions(port=None, socket_path=str(path))).start()


class TestStart:
    async def test_grpc_opens_when_the_first_models_are_settled(self, rig: Rig) -> None:
        rig.held.add(f"{NAME}:1")
        rig.add_version(1)
        starting = asyncio.create_task(rig.build().start())
        await rig.until_states({1: State.LOADING})
        assert rig.server.grpc.port is None

        rig.loaders[f"{NAME}:1"].release.set()
        await soon(starting)

        assert (await rig.client().predict(1)).model_spec.version.value == 1

    async def test_models_that_all_fail_are_an_error_and_nothing_stays_behind(
        self, rig: Rig
    ) -> None:
        rig.errors[f"{NAME}:1"] = DataLoss("the file is cut short")
        rig.add_version(1)
        server = rig.build(http=HTTP)

        with pytest.raises(Unknown) as error:
            await server.start()

        assert str(error.value) == (
            "1 servable(s) did not become available: {{name: half_plus_two version: 1} "
            "due to error: DATA_LOSS: the file is cut short}, }"
        )
        with pytest.raises(httpx.ConnectError):
            await rig.http().get("/livez")

    async def test_one_model_that_fails_leaves_the_others(self, rig: Rig) -> None:
        rig.errors["broken:1"] = DataLoss("the file is cut short")
        rig.add_version(1)
        rig.add_version(1, "broken")
        rig.build(models=ModelSet((rig.model(), rig.model("broken"))))

        await rig.server.start()

        assert (await rig.client().predict(1)).model_spec.name == NAME
        code, _ = await failure(rig.client().predict(1, name="broken"))
        assert code == "NOT_FOUND"

    async def test_a_start_that_is_cancelled_leaves_nothing_behind(self, rig: Rig) -> None:
        rig.held.add(f"{NAME}:1")
        rig.add_version(1)
        starting = asyncio.create_task(rig.build(http=HTTP).start())
        await rig.until_states({1: State.LOADING})

        starting.cancel()
        rig.loaders[f"{NAME}:1"].release.set()
        with pytest.raises(asyncio.CancelledError):
            await soon(starting)

        assert rig.state(1) is State.END
        with pytest.raises(httpx.ConnectError):
            await rig.http().get("/livez")

    async def test_a_server_without_models_starts(self, rig: Rig) -> None:
        await rig.build(models=ModelSet()).start()

        code, _ = await failure(rig.client().predict(1))
        assert code == "NOT_FOUND"


class TestStop:
    async def test_grpc_calls_in_flight_finish_and_new_ones_are_refused(self, rig: Rig) -> None:
        client = await rig.start()
        rig.servable().gate.clear()
        in_flight = client.begin(predict_request(1))
        await soon(rig.servable().started.wait())
        connected, late = rig.client(), rig.client()
        await connected.check()

        stopping = asyncio.create_task(rig.stop(grace_s=30))
        await soon(port_closed(rig.server.grpc.port))
        crossing = [each.begin(predict_request(1)) for each in (connected, client)]
        refused = await failure(late.predict(1))
        rig.servable().gate.set()
        answer = await soon(in_flight)
        codes = {(await soon(call.code())).name for call in crossing}
        await soon(stopping)

        assert refused[0] == "UNAVAILABLE"
        # A call that crosses the server's farewell on its way is answered, or never begun.
        assert codes <= {"OK", "UNAVAILABLE"}
        assert answer.model_spec.version.value == 1
        assert rig.loaders[f"{NAME}:1"].unloads == 1

    async def test_http_requests_in_flight_finish_and_new_ones_are_refused(self, rig: Rig) -> None:
        await rig.start(http=HTTP)
        assert rig.server.http is not None
        rig.servable().gate.clear()
        http, late = rig.http(), rig.http()
        in_flight = asyncio.create_task(http.post(PREDICT, json={"instances": [1]}))
        await soon(rig.servable().started.wait())

        stopping = asyncio.create_task(rig.stop(grace_s=30))
        await soon(port_closed(rig.server.http.port))
        with pytest.raises(httpx.ConnectError):
            await late.get("/livez")
        rig.servable().gate.set()
        answer = await soon(in_flight)
        await soon(stopping)

        assert answer.json() == {"predictions": [2.5]}
        assert rig.loaders[f"{NAME}:1"].unloads == 1

    async def test_an_idle_keep_alive_connection_does_not_hold_up_a_stop(self, rig: Rig) -> None:
        await rig.start(http=HTTP)
        http = rig.http()
        await http.get("/livez")

        await soon(rig.stop(grace_s=30))

        with pytest.raises(httpx.TransportError):
            await http.get("/livez")

    async def test_a_connection_that_is_used_in_the_drain_is_closed_after_its_answer(
        self, rig: Rig
    ) -> None:
        await rig.start(http=HTTP)
        assert rig.server.http is not None
        http = rig.http()
        await http.get("/livez")
        rig.servable().gate.clear()
        in_flight = asyncio.create_task(http.post(PREDICT, json={"instances": [1]}))
        await soon(rig.servable().started.wait())

        stopping = asyncio.create_task(rig.stop(grace_s=30))
        await soon(port_closed(rig.server.http.port))
        rig.servable().gate.set()

        assert (await soon(in_flight)).headers["connection"] == "close"
        await soon(stopping)

    async def test_it_is_not_ready_from_the_first_moment_of_a_stop(self, rig: Rig) -> None:
        client = await rig.start()
        rig.servable().gate.clear()
        in_flight = client.begin(predict_request(1))
        await soon(rig.servable().started.wait())

        stopping = asyncio.create_task(rig.stop(grace_s=30))
        await rig.until(lambda: rig.server.readiness.is_draining)

        assert rig.server.readiness.blockers() == ["the server is draining"]
        rig.servable().gate.set()
        await soon(in_flight)
        await soon(stopping)

    async def test_what_does_not_finish_is_cut_off_at_the_end_of_the_grace_time(
        self, rig: Rig
    ) -> None:
        client = await rig.start(http=HTTP)
        rig.servable().gate.clear()
        over_grpc = asyncio.create_task(failure(client.call(predict_request(1))))
        await soon(rig.servable().started.wait())
        rig.servable().started.clear()
        over_http = asyncio.create_task(rig.http().post(PREDICT, json={"instances": [1]}))
        await soon(rig.servable().started.wait())

        before = time.monotonic()
        await soon(rig.stop(grace_s=0.2))
        took_s = time.monotonic() - before

        assert took_s < 2
        code, _ = await soon(over_grpc)
        assert code in ("UNAVAILABLE", "CANCELLED")
        answer = await soon(over_http)
        assert answer.status_code == 503
        assert answer.json() == {"error": "The server is stopping", "code": "UNAVAILABLE"}
        assert rig.loaders[f"{NAME}:1"].unloads == 1

    async def test_an_upload_that_never_ends_is_cut_off_too(self, rig: Rig) -> None:
        await rig.start(http=HTTP)
        assert rig.server.http is not None
        reader, writer = await asyncio.open_connection(HOST, rig.server.http.port)
        head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n"
        writer.write(head.encode() + b"Expect: 100-continue\r\n\r\n")
        await soon(reader.readuntil(b"\r\n\r\n"))  # it reads the body now

        await soon(rig.stop(grace_s=0.2))

        assert (await soon(reader.read())).startswith(b"HTTP/1.1 503 ")
        writer.close()
        await writer.wait_closed()

    async def test_a_reload_that_waits_is_given_up(self, rig: Rig) -> None:
        rig.held.add("other:1")
        await rig.start()
        rig.add_version(1, "other")
        reload = asyncio.create_task(
            rig.server.models.reload(ModelSet((rig.model(), rig.model("other"))))
        )
        await rig.until_states({1: State.LOADING}, "other")

        reload.cancel()
        stopping = asyncio.create_task(rig.stop())
        rig.loaders["other:1"].release.set()
        await soon(stopping)

        assert rig.state(1, "other") is State.END

    async def test_a_server_can_be_started_again_on_the_same_port(
        self, rig: Rig, tmp_path: Path
    ) -> None:
        await rig.start(http=HTTP)
        assert rig.server.http is not None
        await rig.http().get("/livez")
        grpc, http = rig.server.grpc.port, rig.server.http.port
        await rig.stop()

        again = Rig(tmp_path / "again")
        await again.build(
            models=ModelSet(),
            grpc=GrpcOptions(host=HOST, port=grpc),
            http=HttpOptions(host=HOST, port=http),
        ).start()

        assert (again.server.grpc.port, again.server.http and again.server.http.port) == (
            grpc,
            http,
        )
        await again.close()


async def port_closed(port: int | None) -> None:
    """Return when nobody listens any more, which is some moments into a drain."""
    while True:
        try:
            _, writer = await asyncio.open_connection(HOST, port)
        except ConnectionRefusedError:
            return
        except ConnectionResetError:
            continue  # closed while it was being connected to
        writer.close()
        with contextlib.suppress(ConnectionResetError):
            await writer.wait_closed()
