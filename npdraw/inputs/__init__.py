"""What a stage reads: models from artifacts, the images of a run, the shipped models."""
