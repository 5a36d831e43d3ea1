"""The matrix of steps: whoever works dies at each named step, and somebody does it again.

ground   where it is played
work     what a work is
works    what somebody dies over, and where
outside  the works that have to do with Stripe and the host product
matrix   many runs of it, counted
"""
