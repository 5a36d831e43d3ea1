"""What the tests share: telling facts, sending usage, running services, counting afterwards."""
