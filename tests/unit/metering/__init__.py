"""Calls of models: what wrapped clients of providers count, and what becomes of it."""
