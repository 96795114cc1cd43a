"""Sources: what brings events onto the input topics."""
