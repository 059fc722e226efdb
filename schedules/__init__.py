"""Schedule rules."""
