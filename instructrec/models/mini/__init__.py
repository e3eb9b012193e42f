"""`mini`: a small language model whose vocabulary holds the items, trained from scratch."""
