"""What both trainings share: state, schedule, optimiser, checkpoints; the step of train-decoder."""
