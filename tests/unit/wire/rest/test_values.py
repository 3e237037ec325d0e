"""Single JSON values."""

from __future__ import annotations

import pytest

from sigrun.concurrency.pace import keep_on
from sigrun.errors import InvalidArgument
from sigrun.wire.rest import values

BASE64 = ["QUJD" * 5, "QUJD" * 4 + "QQ", "QUJD" * 4 + "QUI=", "QUJD" * 5 + "="]
BASE64 += ["QUJDQQ==QUJDQUJD", "QUJD" * 4 + "Q", "QUJD?UJDQUJD", "QUJD" * 3 + "\xe4\xe4", "===="]
BASE64 += [
    "QUJD" * 4 + "Q=J",
    "QUJDQUJD====",
    "QUJDQUJDQ===",
    "QUJD\nQUJDQUJD",
    "QU JD" * 5,
    " QUJDQ\n= = ",
    "QUJDQUJDQ..",
]


def decoded(text: str) -> bytes | str:
    try:
        return values.from_base64({"b64": text}, keep_on)
    except InvalidArgument as error:
        return str(error)


@pytest.mark.parametrize("text", BASE64)
def test_long_base64_is_decoded_as_short_is(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = decoded(text)
    for at_once in (4, 8, 12):
        monkeypatch.setattr(values, "_DECODED_AT_ONCE", at_once)

        assert decoded(text) == whole
