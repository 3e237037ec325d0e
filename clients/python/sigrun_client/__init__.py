"""A client for model servers that speak TensorFlow Serving's protocol, without TensorFlow.

`Client` is for threads, `AsyncClient` for asyncio. Everything public is named here.
"""

from sigrun_client._async_client import AsyncClient
from sigrun_client._client import Client
from sigrun_client._errors import (
    Aborted,
    AlreadyExists,
    Cancelled,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    InvalidInput,
    InvalidReply,
    NotAvailable,
    NotFound,
    OutOfRange,
    PermissionDenied,
    ResourceExhausted,
    ServerError,
    SigrunClientError,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    Unknown,
)
from sigrun_client._health import Health
from sigrun_client._metadata import ModelMetadata, Signature, TensorInfo
from sigrun_client._options import KeepAlive, Options, Retries, Tls, token_from_file
from sigrun_client._requests import ModelConfig
from sigrun_client._results import (
    Class,
    ClassifyResult,
    ModelInfo,
    PredictResult,
    RegressResult,
    VersionStatus,
)
from sigrun_client._version import __version__

__all__ = [
    "Aborted",
    "AlreadyExists",
    "AsyncClient",
    "Cancelled",
    "Class",
    "ClassifyResult",
    "Client",
    "DataLoss",
    "DeadlineExceeded",
    "FailedPrecondition",
    "Health",
    "Internal",
    "InvalidArgument",
    "InvalidInput",
    "InvalidReply",
    "KeepAlive",
    "ModelConfig",
    "ModelInfo",
    "ModelMetadata",
    "NotAvailable",
    "NotFound",
    "Options",
    "OutOfRange",
    "PermissionDenied",
    "PredictResult",
    "RegressResult",
    "ResourceExhausted",
    "Retries",
    "ServerError",
    "Signature",
    "SigrunClientError",
    "TensorInfo",
    "Tls",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Unknown",
    "VersionStatus",
    "__version__",
    "token_from_file",
]
