"""Scores from the probabilities of answers to short questions; nothing is generated."""
