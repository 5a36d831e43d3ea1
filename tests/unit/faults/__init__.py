"""The storms of `make faults`, without a storm."""
