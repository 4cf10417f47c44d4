"""The verdict store: cache, log and checkpoint in one SQLite file."""
