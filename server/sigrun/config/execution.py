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

    Raises `InvalidArgument` for a number below zero, a time that is none, or a queue without
    room.
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

    # Packages and shared libraries that bring operations, loaded before the first model.
    op_libraries: tuple[str, ...] = ()

    # TensorFlow Lite: which of two forms of a version is taken, and how many of its requests
    # run at a time, each in an interpreter with memory of its own.
    prefer_tflite_model: bool = False
    tflite_pools: int = 0  # 0: one per available CPU
    tflite_interpreters_per_pool: int = 1

    # For how long requests that are made up may run at load, all of a model together. After it
    # the model is served as it is.
    sample_runs_s: float = 10.0

    # Threads that run signatures, but for runs that are so short that the event loop does
    # them itself. Models share them fairly: each has a queue of its own, of so many runs.
    runner_threads: int = 0  # 0: one per available CPU
    max_queued_runs_per_model: int = 1024
    max_queue_s: float = 30.0  # that a call without a deadline waits for a thread or in a batch
    load_threads: int = 0  # 0: half of the available CPUs, the other half goes on serving

    # A run without a deadline has this one. A run that goes on for so much longer than its
    # deadline, or after its caller has left, is written off; and while so many of a model do
    # not end, it refuses more.
    max_run_s: float = 600.0
    max_run_overtime_s: float = 30.0
    max_written_off_runs: int = 4
    max_load_s: float = 1800.0  # then a load is given up

    def __post_init__(self) -> None:
        for name in (
            "intra_op_threads",
            "inter_op_threads",
            "runner_threads",
            "load_threads",
            "tflite_pools",
        ):
            if getattr(self, name) < 0:
                raise InvalidArgument(f"{name} must be 0 or more; got {getattr(self, name)}")
        for name in (
            "max_queued_runs_per_model",
            "max_written_off_runs",
            "tflite_interpreters_per_pool",
        ):
            if getattr(self, name) < 1:
                raise InvalidArgument(f"{name} must be 1 or more; got {getattr(self, name)}")
        for name in (
            "max_queue_s",
            "max_run_s",
            "max_run_overtime_s",
            "max_load_s",
            "sample_runs_s",
        ):
            if not getattr(self, name) > 0:
                raise InvalidArgument(f"{name} must be more than 0; got {getattr(self, name)}")

    def choose_runner_threads(self, cpus: int) -> int:
        """Return how many threads run signatures on a machine with `cpus` to use."""
        return self.runner_threads or max(1, cpus)

    def choose_tflite_interpreters(self, cpus: int) -> int:
        """Return how many interpreters a TensorFlow Lite model has."""
        return (self.tflite_pools or max(1, cpus)) * self.tflite_interpreters_per_pool

    def choose_load_threads(self, cpus: int) -> int:
        """Return how many models may load at the same time."""
        return self.load_threads or max(1, cpus // 2)
