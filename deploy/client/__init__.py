"""The client of the API for Python: a wheel of its own that shares no code with the product."""
