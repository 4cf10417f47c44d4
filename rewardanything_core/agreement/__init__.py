"""Agreement of verdicts with people: pure functions on numbers, each with where it comes from and its range."""
