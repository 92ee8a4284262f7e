"""hapacs: the controller side: settings, provisioning, verification and the command line."""
