"""The pipeline: one file per stage, from images to artifacts."""
