"""When a server that keeps failing is left alone, and when it is tried again."""

from dataclasses import dataclass, field

OPENS_AFTER = 3
FIRST_PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 60.0


@dataclass
class Breaker:
    """Opens after several failures one after the other; while open, one request is let through after each pause.

    Each pause is twice as long as the last, up to a bound. Times are the event loop's. ``was_reached`` says whether
    the last failure was an answer.
    """

    failures: int = 0
    reason: str = ""
    was_reached: bool = False
    _pause: float = field(default=FIRST_PAUSE_SECONDS)
    _not_before: float | None = None

    @property
    def is_open(self) -> bool:
        return self._not_before is not None

    def why_not(self, now: float) -> str:
        """Say why nothing is sent now, and when it will be again; empty: a request may go."""
        if self._not_before is None or now >= self._not_before:
            return ""
        left = self._not_before - now
        return f"{self.reason} ({self.failures} times in a row; it will be tried again in {left:.0f} s)"

    def begin(self, now: float) -> None:
        """Let one request go; while open it is the trial, and others wait for how it ends."""
        if self._not_before is not None:
            self._not_before = now + self._pause

    def succeeded(self) -> None:
        self.failures, self.reason, self._pause, self._not_before = 0, "", FIRST_PAUSE_SECONDS, None

    def failed(self, reason: str, now: float, *, was_reached: bool) -> None:
        self.failures += 1
        self.reason = reason
        self.was_reached = was_reached
        if self.failures >= OPENS_AFTER:
            self._not_before = now + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)

    def was_seen(self) -> None:
        """Note that the server answers when asked how it is; that ends no faults of its answers."""
        if not self.was_reached:
            self.succeeded()
