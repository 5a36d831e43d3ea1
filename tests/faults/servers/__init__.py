"""What takes servers of its own: each module plays its faults on some that it starts, and ends them."""
