"""Log events of images and requests, one for each, with the caller."""
