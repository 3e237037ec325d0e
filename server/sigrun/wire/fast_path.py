"""Fast path and general path: how the formats read what is common quickly, and everything right.

A general path takes every message, and alone says what it means or what is wrong with it. A
fast path takes the layouts that are common. It knows nothing of errors: whatever else it
meets, well-formed or not, it raises `NotOnFastPath`, and the message takes the general path
from its first byte. So what a fast path takes must be right, and nothing else need be.
"""

from __future__ import annotations


class NotOnFastPath(Exception):
    """The message is to take the general path: it may be wrong, or only uncommon."""
