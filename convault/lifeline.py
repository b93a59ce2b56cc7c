"""A process that ends when whoever started it is gone, also when that one was killed."""

from __future__ import annotations

import os
import signal
import threading


def end_with_stdin() -> None:
    """From here on the end of stdin, which the parent holds open, is a SIGTERM to this process."""

    def wait() -> None:
        while os.read(0, 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()
