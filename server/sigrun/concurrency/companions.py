"""Whether it pays to wait for others, from whether there were any of late.

In: how many came together each time. Out: wait, or not. Who is alone for a while stops waiting,
but for one time in many, which finds out whether there is company again.
"""

from __future__ import annotations

_LONE_GROUPS = 4  # in a row, after which nobody waits
_LOOK_EVERY = 17  # times, of which one waits all the same; a prime, so as not to fall into step


class Company:
    """Remembers for how long there has been none."""

    __slots__ = ("_lone",)

    def __init__(self) -> None:
        self._lone = 0  # times in a row

    def is_likely(self) -> bool:
        """Return whether to wait this time; to be asked once each time."""
        if self._lone < _LONE_GROUPS:
            return True
        self._lone += 1
        return self._lone % _LOOK_EVERY == 0

    def came(self, requests: int) -> None:
        """Take note that so many came together, after waiting."""
        self._lone = 0 if requests > 1 else self._lone + 1
