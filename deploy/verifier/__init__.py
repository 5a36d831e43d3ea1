"""A verifier that shares no code with the product: one file that may be carried anywhere."""
