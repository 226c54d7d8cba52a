"""Numbers only: primary score, guards, choice, tests and the leaderboard as a value."""
