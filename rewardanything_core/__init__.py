"""Judge LLM responses under a principle written in plain language."""
