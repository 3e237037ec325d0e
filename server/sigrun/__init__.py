"""sigrun: a model server for TensorFlow SavedModels, wire-compatible with TensorFlow Serving."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.2.0"
