"""Judges and juries: the public API for judging one case, many or a stream."""
