"""How versions are warmed up between their load and their first request."""

from __future__ import annotations

from dataclasses import dataclass

from sigrun.errors import InvalidArgument


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmUpOptions:
    """What is run before a version becomes available.

    `replays`: the requests that lie beside the model, each `iterations` times, and
    `at_all_batch_sizes` with their rows repeated to each of the allowed sizes. `synthesizes`:
    requests made up from the signatures, one for each batch size. Both together may take
    `limit_s`: a version whose own requests take longer does not load, and what was made up is
    then left out.

    Raises `InvalidArgument` for a number of iterations below 1 or a limit that is none.
    """

    replays: bool = True
    at_all_batch_sizes: bool = False
    iterations: int = 1
    synthesizes: bool = False
    limit_s: float = 600.0

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise InvalidArgument(
                f"warm-up requests are run once or more often, not {self.iterations} times"
            )
        if not self.limit_s > 0:
            raise InvalidArgument(f"the time for warm-up is more than 0 s, not {self.limit_s:g}")
