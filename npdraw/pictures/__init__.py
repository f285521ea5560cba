"""Picture files: named, written, and laid out as sheets."""
