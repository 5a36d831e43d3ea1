"""What finance closes a month with, told without a database."""
