"""How versions are made of what is on disk: what a platform config file replaces as a whole."""

from __future__ import annotations

from dataclasses import dataclass, field

from sigrun.config.batching import BatchingOptions
from sigrun.config.execution import ExecutionOptions
from sigrun.config.warm_up import WarmUpOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformOptions:
    """Settings of every version that is loaded. `batching` None: requests run one by one."""

    execution: ExecutionOptions = field(default_factory=ExecutionOptions)
    batching: BatchingOptions | None = None
    has_batching_per_model: bool = False
    warm_up: WarmUpOptions = field(default_factory=WarmUpOptions)
