"""How versions are found, loaded, tried again and dropped."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from sigrun.errors import InvalidArgument


class VersionTransition(enum.Enum):
    """In which order a model moves to its aspired versions."""

    AVAILABILITY_PRESERVING = "availability_preserving"
    RESOURCE_PRESERVING = "resource_preserving"


@dataclass(frozen=True, slots=True, kw_only=True)
class LifecycleOptions:
    """Settings of source and manager; durations in seconds.

    `poll_wait_s` of 0 or less: base paths are looked at only at start and on reload, until
    what is there can be loaded. `settle_timeout_s` bounds every wait for
    models: at start also the wait for a base path or a first version to appear. A version
    whose files are young is taken when they have stayed the same for `quiet_s`.

    Raises `InvalidArgument` for a negative number of retries, a negative quiet time or a
    timeout that is not positive.
    """

    poll_wait_s: float = 1.0
    max_num_load_retries: int = 5
    load_retry_interval_s: float = 60.0
    settle_timeout_s: float = 600.0
    quiet_s: float = 2.0
    transition: VersionTransition = VersionTransition.AVAILABILITY_PRESERVING
    allow_labels_for_unavailable: bool = False

    def __post_init__(self) -> None:
        if self.max_num_load_retries < 0:
            raise InvalidArgument(
                f"max_num_load_retries must be non-negative; was {self.max_num_load_retries}"
            )
        if self.settle_timeout_s <= 0:
            raise InvalidArgument(
                f"the time to wait for models must be positive; was {self.settle_timeout_s:g} s"
            )
        if self.quiet_s < 0:
            raise InvalidArgument(
                f"the time for which files must stay the same is 0 s or more; was {self.quiet_s:g}"
            )
