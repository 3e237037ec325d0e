"""Tokens, an address for administration, and a model loaded again, in a real process."""

from __future__ import annotations

from pathlib import Path

from sigrun.cli.token import make_token
from sigrun_client import Client, Options, Unauthenticated
from tests.conftest import MakeBasePath
from tests.e2e.process import running_server

ONE = [1.0]


def put(file: Path, *made: str) -> None:
    """Put the entries of tokens into their file."""
    new = file.with_suffix(".new")
    new.write_text("\n".join(one.partition("# its entry\n")[2] for one in made))
    new.replace(file)


def secret_of(made: str) -> str:
    return made.splitlines()[1]


def test_a_server_asks_for_tokens_and_its_models_are_changed_at_another_address(
    make_base_path: MakeBasePath, tmp_path: Path
) -> None:
    base_path = make_base_path({1: "half_plus_two"})
    file, socket = tmp_path / "tokens.toml", tmp_path / "admin.sock"
    web = make_token(["web"])
    admin = make_token(["deploy", "--rights=administration"])
    put(file, web, admin)
    flags = (f"--auth_tokens_file={file}", f"--admin_address=unix:{socket}")

    with running_server(
        f"--model_base_path={base_path}", "--model_name=half_plus_two", *flags
    ) as server:

        def client(secret: str, address: str = server.grpc_address) -> Client:
            return Client(address, Options(token=secret))

        with client(secret_of(web)) as asking, client(secret_of(admin), f"unix:{socket}") as ruling:
            before = asking.predict("half_plus_two", {"x": ONE}, signature="serving_default")
            reloaded = ruling.reload_model("half_plus_two")
            labelled = ruling.set_labels("half_plus_two", {"stable": 1})
            after = asking.predict("half_plus_two", {"x": ONE}, label="stable")
            put(file, admin)
            server.wait_for(lambda: is_refused(asking), "the removed token is refused")

        log = server.log_text()

    assert before["y"].tolist() == after["y"].tolist() == [2.5]
    assert [str(one) for one in reloaded.versions] == ["version 1 AVAILABLE"]
    assert labelled.labels == {"stable": 1}
    assert "token deploy calls sigrun.v1.ModelManagementService/ReloadModel from unix:" in log
    assert "half_plus_two:1 is loaded again: asked for" in log
    assert secret_of(web) not in log
    assert secret_of(admin) not in log


def is_refused(client: Client) -> bool:
    try:
        client.status("half_plus_two")
    except Unauthenticated:
        return True
    return False
