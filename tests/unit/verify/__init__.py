"""The verification, held against a PACS that misbehaves."""
