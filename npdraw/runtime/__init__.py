"""How anything here runs and keeps its output: processes, noise, locks, run folders, signals."""
