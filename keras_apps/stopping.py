"""When to stop before the last step: a signal, or the time that was given."""

import contextlib
import signal
import sys
import threading
import time

SIGNALLED, TIME_UP = 1, 2
TERMINATED = 143        # what shells and cluster managers know as "ended by SIGTERM": they start the command again


class Stopping:
    """Asked after every step.

    SIGTERM, and the first Ctrl-C, ask for a checkpoint and an end; a second Ctrl-C ends at once.

    Args:    minutes: wall minutes from now; 0 = no limit.
    Raises:  ValueError for negative minutes.
    """

    def __init__(self, minutes=0.0):
        if not minutes >= 0:
            raise ValueError(f"`max_minutes` is {minutes} but must not be negative; 0 sets no limit.")
        self.minutes, self.start, self.signal = minutes, time.monotonic(), None

    def asked(self):
        """0, SIGNALLED or TIME_UP."""
        if self.signal is not None:
            return SIGNALLED
        return TIME_UP if self.minutes and time.monotonic() - self.start >= 60 * self.minutes else 0

    @contextlib.contextmanager
    def watching(self):
        """Inside, signals are noted instead of ending the process."""
        if threading.current_thread() is not threading.main_thread():      # only there Python takes signals
            yield
            return
        kept = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, old in kept.items():
                signal.signal(number, old)

    def _note(self, number, frame):
        if number == signal.SIGINT and self.signal is not None:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number).name
        print(f"{self.signal}: saving after this step", file=sys.stderr, flush=True)
