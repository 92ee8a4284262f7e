"""What is recorded of images and requests: one log event each, with the caller."""
