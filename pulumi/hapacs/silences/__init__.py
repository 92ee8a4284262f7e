"""Silences for what an operation or a drill causes, and for nothing else (ADR 71).

`causes` says which alerts an operation raises, `alertmanager` asks the Alertmanagers of a site, `during` sets the
silences of a command and takes them away.
"""
