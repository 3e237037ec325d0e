"""What loads versions into this process, and what surrounds a load: the chain, put together here.

A SavedModel is read and served by `executors`; around that its requests are batched, it is warmed
up, and, if it is in an object store, fetched before all that. Each is a `Loader` in a `Loader`, so
that another concern is a decorator of its own and a line here.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from sigrun.batching.runners import BatchRunners
from sigrun.batching.servable import BatchingLoader
from sigrun.batching.statistics import BatchingInstruments
from sigrun.concurrency.cpus import available_cpus
from sigrun.concurrency.offload import Offload
from sigrun.concurrency.threads import Limits, Threads
from sigrun.config.batching import BatchingOptions
from sigrun.config.server import ServerConfig
from sigrun.executors.running import RunningModels
from sigrun.executors.saved_model import SavedModelLoader
from sigrun.inference.warm_up import WarmingLoader, WarmUps
from sigrun.servables.fetching import FetchingLoader
from sigrun.servables.folders import Revision
from sigrun.servables.model_cache import ModelCache
from sigrun.servables.object_store import ObjectStore, StoredRevision
from sigrun.servables.servable import Loader, ServableId
from sigrun.servables.source import MakeLoader
from sigrun.telemetry.metrics import Metrics
from sigrun.wire import warm_up_files
from sigrun.wire.config_files import batching_config, saved_model_config

_MAX_WAITING_LOADS = 100_000
_LOAD_PATIENCE_S = 60.0  # a load that waits longer for others gets a thread beside them
_LOAD_OVERTIME_S = 1.0


class Loaders:
    """Makes loaders, and owns the threads in which they load and their models run."""

    def __init__(
        self, config: ServerConfig, metrics: Metrics, offload: Offload, running: RunningModels
    ) -> None:
        self._config = config
        self._metrics = metrics
        self._offload = offload
        self._running = running
        self._threads: list[Threads] = []

    def own(self, make_loader: MakeLoader | None = None) -> MakeLoader:
        """Return what loads into this process; `make_loader` in the place of SavedModels'."""
        make_loader = make_loader or self._saved_model()
        if self._config.batching is not None:
            make_loader = self._batching(make_loader, self._config.batching)
        return self._warming(make_loader)

    def _saved_model(self) -> MakeLoader:
        options = self._config.execution
        cpus = available_cpus()
        runners = Threads(
            name="runner",
            count=options.choose_runner_threads(cpus),
            max_waiting=options.max_queued_runs_per_model,
            limits=Limits(
                longest_s=options.max_run_s,
                longest_wait_s=options.max_queue_s,
                overtime_s=options.max_run_overtime_s,
            ),
        )
        loading = Threads(
            name="load",
            count=options.choose_load_threads(cpus),
            max_waiting=_MAX_WAITING_LOADS,
            limits=Limits(longest_s=options.max_load_s, overtime_s=_LOAD_OVERTIME_S),
            patience_s=_LOAD_PATIENCE_S,
        )
        self._threads += [runners, loading]
        for source in (self._running.readings, runners.readings, loading.readings):
            self._metrics.add(source)

        def make_loader(id: ServableId, path: Path, revision: Revision) -> SavedModelLoader:
            return SavedModelLoader(
                id,
                str(path),
                revision,
                options=options,
                runners=runners,
                load_threads=loading,
                running=self._running,
                options_of_version=saved_model_config.options_of_version,
            )

        return make_loader

    def _batching(self, make_loader: MakeLoader, options: BatchingOptions) -> MakeLoader:
        runners = BatchRunners(
            options.choose_num_batch_threads(available_cpus()),
            longest_wait_s=self._config.execution.max_queue_s,
        )
        instruments = BatchingInstruments()
        self._metrics.add(instruments.readings)

        def make_batching_loader(id: ServableId, path: Path, revision: Revision) -> Loader:
            return BatchingLoader(
                make_loader(id, path, revision),
                read_options=functools.partial(self._batching_of, path),
                runners=runners,
                instruments=instruments,
            )

        return make_batching_loader

    def _batching_of(self, path: Path) -> BatchingOptions | None:
        """Read how the version in `path` is batched; None: it is not. Blocks."""
        is_own = self._config.batching is not None and self._config.has_batching_per_model
        return batching_config.from_version(path) if is_own else self._config.batching

    def _warming(self, make_loader: MakeLoader) -> MakeLoader:
        warm_ups = WarmUps()
        self._metrics.add(warm_ups.readings)

        def batch_rows_of(path: Path) -> Sequence[int]:
            batching = self._batching_of(path)
            return batching.allowed_batch_rows if batching is not None else ()

        def make_warming_loader(id: ServableId, path: Path, revision: Revision) -> Loader:
            return WarmingLoader(
                make_loader(id, path, revision),
                model_path=str(path),
                read_calls=functools.partial(warm_up_files.read_calls, path),
                read_batch_rows=functools.partial(batch_rows_of, path),
                options=self._config.warm_up,
                offload=self._offload,
                warm_ups=warm_ups,
                check_method_names=self._config.check_method_names,
            )

        return make_warming_loader

    def fetching(self, make_loader: MakeLoader, store: ObjectStore) -> MakeLoader:
        """Return the same for versions that are in `store`: they are fetched first."""
        options = self._config.object_store
        cache = ModelCache(options, store)
        self._metrics.add(cache.readings)

        def make_fetching_loader(id: ServableId, path: Path, revision: Revision) -> Loader:
            if not isinstance(revision, StoredRevision):
                return make_loader(id, path, revision)
            return FetchingLoader(
                id,
                revision,
                cache=cache,
                make_loader=lambda copy: make_loader(id, copy, revision),
                max_fetch_s=options.max_fetch_s,
            )

        return make_fetching_loader

    def close(self) -> None:
        """End the threads; blocks."""
        for threads in self._threads:
            threads.close()
