"""What clients get of a study that an operator corrected; stored bytes are never changed."""
