"""How good instructions are: measures, leak audit, counts."""
