"""The settings of a deployment: models, checks over several fields, and reading them from a file."""

from hapacs.settings.checks import warnings
from hapacs.settings.load import SettingsError, load, parse
from hapacs.settings.models import OPERATIONS, Caller, LabTarget, Node, Operation, Settings, Site, StaticTarget
from hapacs.settings.policy import Policy
from hapacs.settings.problem import Problem

__all__ = [
    "OPERATIONS",
    "Caller",
    "LabTarget",
    "Node",
    "Operation",
    "Policy",
    "Problem",
    "Settings",
    "SettingsError",
    "Site",
    "StaticTarget",
    "load",
    "parse",
    "warnings",
]
