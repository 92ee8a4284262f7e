"""The controller's part of hapacs: settings, provisioning, verification and the command line."""
