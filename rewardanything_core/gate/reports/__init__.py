"""Reports of a check: for a terminal, a pull request, a CI's list of tests, and a browser."""
