"""A stretch of time that something is counted in.

Invariant: begin belongs to it, end does not, so windows side by side count everything once.
"""

from __future__ import annotations

from typing import NamedTuple


class Window(NamedTuple):
    """From (included) to (excluded), seconds since 1970."""

    begin: float
    end: float

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end - self.begin

    @property
    def middle(self) -> float:
        """The moment at which its second half begins."""
        return (self.begin + self.end) / 2

    def holds(self, moment: float) -> bool:
        """Tell whether a moment lies in it."""
        return self.begin <= moment < self.end

    def before(self) -> Window:
        """Return the window of the same length that ends where this one begins."""
        return Window(2 * self.begin - self.end, self.begin)
