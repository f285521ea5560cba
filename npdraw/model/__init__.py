"""The model: latents, part bank, parser, canvas, prior, encoder and decoder (docs/model.md)."""
