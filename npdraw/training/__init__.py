"""Training: the session, state and checkpoints of both trainings; the step of train-decoder."""
