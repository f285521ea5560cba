"""How commands run and keep their output: processes, randomness, locks, run folders, signals."""
