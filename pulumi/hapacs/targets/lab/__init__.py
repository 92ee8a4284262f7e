"""The target `lab`: nodes are containers of this machine."""
