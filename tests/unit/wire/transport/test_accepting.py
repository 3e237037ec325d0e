from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import Any, cast

import pytest

from sigrun.wire.transport import accepting
from sigrun.wire.transport.accepting import Acceptor

ADDRESS = ("192.0.2.1", 4711)


class Listening:
    """Stands for a socket: accepts, or raises, what it is given."""

    def __init__(self, *backlog: str | int) -> None:
        self.backlog = list(backlog)

    def accept(self) -> tuple[Any, Any]:
        if not self.backlog:
            raise BlockingIOError
        match self.backlog.pop(0):
            case int(number):
                raise OSError(number, os.strerror(number))
            case name:
                return name, ADDRESS


class Rig:
    def __init__(self, has_room: Callable[[], bool] = lambda: True) -> None:
        self.begun: list[Any] = []
        self.pauses = 0
        self.acceptor = Acceptor(self._begin, self._pause, has_room=has_room)

    def accept(self, listening: Listening) -> bool:
        return self.acceptor.accept_some(cast("socket.socket", listening))

    def _begin(self, _: socket.socket, accepted: Any, address: Any) -> None:
        assert address == ADDRESS
        self.begun.append(accepted)

    def _pause(self) -> None:
        self.pauses += 1


def test_all_that_wait_are_accepted() -> None:
    rig = Rig()

    assert not rig.accept(Listening("a", "b"))
    assert (rig.begun, rig.pauses) == (["a", "b"], 0)


def test_after_some_others_have_their_turn() -> None:
    rig = Rig()
    listening = Listening(*map(str, range(40)))

    assert rig.accept(listening)
    assert len(rig.begun) == 32
    assert not rig.accept(listening)
    assert len(rig.begun) == 40


def test_one_that_has_left_already_is_passed_over() -> None:
    rig = Rig()

    rig.accept(Listening(errno.ECONNABORTED, "b"))

    assert (rig.begun, rig.pauses) == (["b"], 0)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_without_descriptors_it_pauses_counts_and_says_so_once(
    number: int, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig()

    for _ in range(20):
        assert not rig.accept(Listening(number, "waits"))

    assert (rig.begun, rig.pauses, rig.acceptor.starved) == ([], 20, 20)
    assert caplog.messages == [f"connections have to wait: {os.strerror(number)}"]
    (reading,) = accepting.readings([rig.acceptor, Rig().acceptor])
    assert reading.value == 20


def test_any_other_error_is_said_once_and_is_no_shortage(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig()

    for _ in range(3):
        rig.accept(Listening(errno.EPERM))

    assert (rig.pauses, rig.acceptor.starved) == (3, 0)
    assert caplog.messages == ["a connection cannot be accepted: Operation not permitted"]


def test_without_room_nothing_is_accepted() -> None:
    rig = Rig(has_room=lambda: not rig.begun)
    listening = Listening("a", "b")

    assert not rig.accept(listening)
    assert (rig.begun, listening.backlog) == (["a"], ["b"])
