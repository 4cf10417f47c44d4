"""Models on this machine, run through transformers by a continuous-batching engine."""
