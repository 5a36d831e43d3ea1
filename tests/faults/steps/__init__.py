"""The matrix of steps: whoever works dies at each named step, and somebody does it again.

ground  where it is played
works   what somebody dies over, and where
matrix  many runs of it, counted
"""
