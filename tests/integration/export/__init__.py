"""Exports, archives and what is folded from them."""
