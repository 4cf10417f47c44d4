"""A check's result as text: for a terminal, a pull request, a CI's test list and a browser."""
