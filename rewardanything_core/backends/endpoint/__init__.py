"""Models behind an HTTP endpoint: transport, retries, concurrency limits, replicas."""
