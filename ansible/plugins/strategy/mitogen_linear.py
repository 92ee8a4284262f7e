"""Ansible strategy: as `linear`, but each node keeps one Python for a whole playbook (docs/adr/0016).

Mitogen lies where the virtual environment has it; Ansible finds strategies by directories of its configuration.
"""

from __future__ import annotations

from typing import Any

from ansible_mitogen import affinity
from ansible_mitogen.plugins.strategy import mitogen_linear

# Mitogen binds itself to one processor and all else to the others: on a machine of two, all connections, and what a
# playbook starts on the machine itself, such as the containers of tests, share one while the other one is idle.
affinity.policy = affinity.Policy()  # type: ignore[assignment] # its base, which binds nothing


class StrategyModule(mitogen_linear.StrategyModule):
    """Mitogen's `linear`, which also ends the playbook when a node was lost and any error is fatal.

    Where any error is fatal, Ansible counts a lost node twice, as lost and as failed. So it doesn't see that the whole
    play came to an end, and goes on with the next one and its nodes (ansible-core 2.21, ``PlaybookExecutor.run``).
    """

    def run(self, iterator: Any, play_context: Any, result: int = 0) -> int:
        """Run a play; a bit of the result ends the playbook."""
        result = super().run(iterator, play_context, result)
        if iterator._play.any_errors_fatal and result & self._tqm.RUN_UNREACHABLE_HOSTS:
            return result | int(self._tqm.RUN_FAILED_BREAK_PLAY)
        return result
