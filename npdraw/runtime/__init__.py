"""How commands run and keep their output: processes, random numbers, locks, run folders, signals."""
