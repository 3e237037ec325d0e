"""Administration at an address of its own, and nowhere else."""

from __future__ import annotations

import stat
from pathlib import Path

import httpx
import pytest

from sigrun._gen.sigrun.v1 import model_management_pb2 as pb
from sigrun._gen.tensorflow_serving.apis.model_management_pb2 import ReloadConfigRequest
from sigrun.config.server import AdminOptions
from tests.wire.clients import NAME, PATIENCE_S, failure, predict_request
from tests.wire.rig import HOST, HTTP, Rig
from tests.wire.test_model_management import ask, load

pytestmark = pytest.mark.asyncio


async def test_models_are_changed_there_alone(rig: Rig) -> None:
    everybody = await rig.start(http=HTTP, admin=AdminOptions(host=HOST))
    assert rig.server.admin is not None
    admin = rig.client(f"{HOST}:{rig.server.admin.port}")
    rig.add_version(5, "other")

    await ask(admin, load(rig))
    assert len((await ask(everybody, pb.ListModelsRequest())).models) == 2
    only = "answered at the address of --admin_address alone"
    assert await failure(ask(everybody, load(rig))) == (
        "PERMISSION_DENIED",
        f"LoadModel is {only}",
    )
    assert await failure(everybody.call(ReloadConfigRequest())) == (
        "PERMISSION_DENIED",
        f"HandleReloadConfigRequest is {only}",
    )
    answer = await rig.http().post(
        "/sigrun.v1.ModelManagementService/UnloadModel", json={"name": NAME}
    )
    assert (answer.status_code, answer.json()["message"]) == (403, f"UnloadModel is {only}")
    code, _ = await failure(admin.call(predict_request(1)))
    assert code == "UNIMPLEMENTED"
    assert await admin.check(NAME) == "SERVING"


async def test_it_may_be_a_unix_socket_for_its_owner(rig: Rig, tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    await rig.start(admin=AdminOptions(socket_path=str(path)))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    admin = rig.client(f"unix:{path}")

    await ask(admin, pb.UnloadModelRequest(name=NAME))
    transport = httpx.AsyncHTTPTransport(uds=str(path))
    async with httpx.AsyncClient(transport=transport, timeout=PATIENCE_S) as http:
        listed = await http.post(
            "http://admin/sigrun.v1.ModelManagementService/ListModels", json={}
        )
        assert listed.status_code == 200
        assert (await http.get("http://admin/livez")).status_code == 200
        assert (await http.get(f"http://admin/v1/models/{NAME}")).status_code == 404

    await admin.channel.close()
    await rig.stop()
    assert not path.exists()
