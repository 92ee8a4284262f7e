"""What the archive has, day by day, in the archive itself."""
