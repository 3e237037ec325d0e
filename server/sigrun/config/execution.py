"""How models are executed: which MetaGraph is loaded, and with how many threads.

In: flags and their defaults. Out: checked options for the executors; 0 means "choose",
and the choice is made where the number of CPUs is known.
"""

from __future__ import annotations

from dataclasses import dataclass

from sigrun.errors import InvalidArgument

SERVING_TAGS = frozenset({"serve"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionOptions:
    """How SavedModels are loaded and run.

    Raises `InvalidArgument` for a number below zero, or a queue without room.
    """

    saved_model_tags: frozenset[str] = SERVING_TAGS

    # Turn variables that nothing writes into constants, where TensorFlow can make use of it
    # and made-up requests are answered as before. It makes loading longer. Models with state
    # stay as they are.
    optimize_on_load: bool = True

    # Threads inside one operation, and operations of one run at the same time. The first is
    # shared by the process: the first model that is loaded fixes it.
    intra_op_threads: int = 0  # 0: one, as the callers' threads already fill the CPUs
    inter_op_threads: int = 0  # 0: none, a run stays in its caller's thread
    session_config: bytes = b""  # a serialized tensorflow.ConfigProto; empty: none

    # Threads that run signatures, but for runs that are so short that the event loop does
    # them itself; and how many runs may wait for one.
    runner_threads: int = 0  # 0: one per available CPU
    max_waiting_runs: int = 1024
    load_threads: int = 0  # 0: half of the available CPUs, the other half goes on serving

    def __post_init__(self) -> None:
        for name in ("intra_op_threads", "inter_op_threads", "runner_threads", "load_threads"):
            if getattr(self, name) < 0:
                raise InvalidArgument(f"{name} must be 0 or more; got {getattr(self, name)}")
        if self.max_waiting_runs < 1:
            raise InvalidArgument(
                f"max_waiting_runs must be 1 or more; got {self.max_waiting_runs}"
            )

    def choose_runner_threads(self, cpus: int) -> int:
        """Return how many threads run signatures on a machine with `cpus` to use."""
        return self.runner_threads or max(1, cpus)

    def choose_load_threads(self, cpus: int) -> int:
        """Return how many models may load at the same time."""
        return self.load_threads or max(1, cpus // 2)
