"""Whatever is sent as a body, the answer is clear: never a 500, a hang or a growing process."""

from __future__ import annotations

import contextlib
import gc
import gzip
import json
import random
import tracemalloc
from collections.abc import Callable, Iterator

import httpx
import pytest

from sigrun.config.models import ModelSet
from tests.wire.rest_model import RestServable
from tests.wire.rest_rules import CASES, CLASSIFY, PREDICT
from tests.wire.rig import HTTP, Rig

pytestmark = pytest.mark.asyncio

MEGABYTE = 1 << 20


async def start(rig: Rig) -> httpx.AsyncClient:
    rig.servables["rest:1"] = RestServable()
    rig.add_version(1, "rest")
    await rig.build(models=ModelSet((rig.model("rest"),)), http=HTTP).start()
    return rig.http()


@contextlib.contextmanager
def allocations() -> Iterator[Callable[[], tuple[int, int]]]:
    """Yield what says how many bytes Python has allocated since, and at most at once.

    What the process has in memory depends on its allocators' moods, and on the tests before.
    """

    def so_far() -> tuple[int, int]:
        gc.collect()
        return tracemalloc.get_traced_memory()

    gc.collect()
    tracemalloc.start()
    try:
        yield so_far
    finally:
        tracemalloc.stop()


async def test_bodies_that_are_changed_at_random_are_answered_or_refused(rig: Rig) -> None:
    http = await start(rig)
    chance = random.Random(7)
    bodies = [case.body.encode() for case in CASES if case.method == "POST"]

    for _ in range(400):
        body = bytearray(chance.choice(bodies))
        for _ in range(chance.randrange(1, 4)):
            position = chance.randrange(len(body) + 1)
            match chance.randrange(4):
                case 0:
                    del body[position:]
                case 1:
                    body[position:position] = chance.randbytes(2)
                case 2:
                    body[position:position] = chance.choice([b"[", b"{", b'"', b"-", b"9" * 400])
                case _:
                    body[position : position + 1] = chance.choice(bodies)[:20]
        target = chance.choice([PREDICT, CLASSIFY])
        answer = await http.post(target, content=bytes(body))

        is_the_models = b"fails_" in body
        assert answer.status_code in (200, 400, 501) or is_the_models, (bytes(body), answer.text)
        if answer.status_code != 200:
            assert answer.json().keys() == {"error", "code"}


@pytest.mark.parametrize("size", [1, 1000, 10 * MEGABYTE])
@pytest.mark.parametrize(
    "piece",
    [
        "[",
        "[[",
        '{"a":',
        '[{"b64":',
        "-",
        '"',
        "\\u0000",
        "9",
        "[1,",
        '{"instances":[',
        "\xff",
        "\0",
    ],
)
async def test_the_same_over_and_over_is_refused(rig: Rig, piece: str, size: int) -> None:
    http = await start(rig)
    body = (piece.encode("latin-1") * (size // len(piece) + 1))[:size]

    answer = await http.post(PREDICT, content=b'{"instances": ' + body)

    assert answer.status_code == 400, answer.text[:200]
    assert len(answer.content) < 2000


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances": [' + b"1," * (2 * MEGABYTE) + b'"x"]}',
        b'{"instances": ["' + b"x" * (30 * MEGABYTE) + b'"]}',
        b'{"instances": [' + b'"abcdef",' * MEGABYTE + b"1]}",
        b'{"instances": [' + b"[1,2]," * MEGABYTE + b"[1]]}",
    ],
    ids=["a string after numbers", "one long string", "many strings", "ragged"],
)
async def test_a_large_body_with_a_mistake_is_refused(rig: Rig, body: bytes) -> None:
    http = await start(rig)

    answer = await http.post(PREDICT, content=body)

    assert answer.status_code == 400
    assert len(answer.content) < 2000


async def test_gzip_that_expands_without_end_is_refused_and_leaves_nothing(rig: Rig) -> None:
    http = await start(rig)
    bomb = gzip.compress(b"[" * (200 * MEGABYTE), 9)

    async def send() -> int:
        answer = await http.post(PREDICT, content=bomb, headers={"content-encoding": "gzip"})
        return answer.status_code

    assert await send() == 413
    with allocations() as so_far:
        assert [await send() for _ in range(3)] == [413] * 3
        left, most = so_far()

    assert most < 250 * MEGABYTE  # 100 are the limit of a body
    assert left < 10 * MEGABYTE


async def test_hundreds_of_refusals_leave_nothing(rig: Rig) -> None:
    http = await start(rig)
    body = json.dumps({"instances": [[0.5] * 1000] * 20 + [["x"]]}).encode()
    for _ in range(10):
        await http.post(PREDICT, content=body)
    with allocations() as so_far:
        for _ in range(100):
            assert (await http.post(PREDICT, content=body)).status_code == 400
        left, most = so_far()

    assert most < 50 * MEGABYTE
    assert left < 5 * MEGABYTE
