"""Drawings in hand: sampled, read and written as JSON, edited, completed, shown."""
