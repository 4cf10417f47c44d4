"""Judging a judge: benchmark files in, agreement with people out."""
