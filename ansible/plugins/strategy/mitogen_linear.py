"""Ansible strategy: as `linear`, but each node keeps one Python for a whole playbook (docs/adr/0016).

Mitogen lies where the virtual environment has it; Ansible finds strategies by directories of its configuration.
"""

from ansible_mitogen.plugins.strategy.mitogen_linear import StrategyModule

__all__ = ["StrategyModule"]
