"""Tells the service manager that this process still runs Python, so that it is restarted when it does not.

Orthanc calls the plugin with Python's lock held. When a thread waits for ever with the lock, every call of the plugin
waits too: the process stores nothing, answers nothing, and does not end. No thread of Python can notice it, so systemd
does: what it does not hear from for ``WatchdogSec`` is killed and started again (systemd.service(5), sd_notify(3)).
"""

import os
import socket
import threading

from hapacs_node import log

_LOG = log.get("watchdog")
# systemd advises half of its time; the others are for a machine that is busy.
_A_PERIOD = 6


class Watchdog:
    """Sends a sign of life several times within the time that the service manager waits for one.

    Parameters
    ----------
    address : str or None
        The socket of the service manager, as in ``NOTIFY_SOCKET``; None where nobody waits.
    patience_s : float
        How long the service manager waits.
    """

    def __init__(self, address: str | None, patience_s: float) -> None:
        self._address = address
        self._period_s = patience_s / _A_PERIOD
        self._stop = threading.Event()

    @classmethod
    def of_the_service(cls) -> "Watchdog":
        """Return the watchdog that the environment of a systemd service asks for."""
        patience_us = os.environ.get("WATCHDOG_USEC", "")
        address = os.environ.get("NOTIFY_SOCKET") if patience_us.isdecimal() else None
        return cls(address or None, int(patience_us) / 1e6 if address else 0.0)

    def start(self) -> None:
        """Start to send, on a thread of its own."""
        if self._address is not None:
            threading.Thread(target=self._repeat, args=(self._address,), name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Stop sending: the unit's time for stopping counts from now on."""
        self._stop.set()

    def _repeat(self, address: str) -> None:
        # A name in the abstract namespace begins with a null byte, which the environment can't hold.
        target = f"\0{address[1:]}" if address.startswith("@") else address
        while True:
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
                    manager.sendto(b"WATCHDOG=1", target)
            except OSError as error:
                # Tried again: several of them fit into the time that the service manager waits.
                _LOG.warning(log.line("sign_of_life_failed", error=error))
            if self._stop.wait(self._period_s):
                return
