"""``ra-judge check`` and ``ra-judge baseline``: settings, cases, prompts, and where outputs come from."""
