"""Which requests of a model are logged, where to, and how much of the disk they may take."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from sigrun.errors import InvalidArgument


class LogKind(enum.Enum):
    """How the records of a request log are written; the values are types of a log collector."""

    TF_RECORD = "tfrecord"
    JSON_LINES = "jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLogging:
    """What is logged of one model's requests: a share of those that succeed.

    The names of the files begin with `filename_prefix`, an absolute path. With `logs_origin` a
    record says who sent the request.

    Raises `InvalidArgument` for a relative prefix, and a share that is not from 0 to 1.
    """

    filename_prefix: str
    sampling_rate: float
    kind: LogKind = LogKind.TF_RECORD
    logs_origin: bool = False

    def __post_init__(self) -> None:
        if not self.filename_prefix.startswith("/") or self.filename_prefix.endswith("/"):
            raise InvalidArgument(
                "log_collector_config.filename_prefix is "
                f"{self.filename_prefix!r}, and should be an absolute path and the beginning of "
                "a file's name, such as /var/log/sigrun/my_model"
            )
        if not 0 <= self.sampling_rate <= 1:
            raise InvalidArgument(
                f"sampling_config.sampling_rate is {self.sampling_rate:g}, and should be a share "
                "from 0 to 1"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLogLimits:
    """How large and old a log file may become, and all those of one prefix together.

    Beyond `max_waiting_bytes` records that wait to be written are dropped, and counted.

    Raises `InvalidArgument` for a limit that is not positive.
    """

    max_file_bytes: int = 256 << 20
    max_file_age_s: float = 3600.0
    max_total_bytes: int = 4 << 30
    max_waiting_bytes: int = 64 << 20

    def __post_init__(self) -> None:
        for name in ("max_file_bytes", "max_file_age_s", "max_total_bytes", "max_waiting_bytes"):
            if getattr(self, name) <= 0:
                raise InvalidArgument(f"A request log needs room: {name} is {getattr(self, name)}")
