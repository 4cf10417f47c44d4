"""One event loop per process, de-duplication of work in flight, and a small asynchronous memo."""
