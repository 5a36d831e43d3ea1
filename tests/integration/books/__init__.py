"""What finance closes a month with, over a real PostgreSQL."""
