"""Picture files and sample sheets."""
