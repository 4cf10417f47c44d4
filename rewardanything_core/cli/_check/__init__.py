"""What ``ra-judge check`` and ``ra-judge baseline`` are made of: settings, cases, prompts, and having the outputs."""
