"""Running Creditwell somewhere: the image, the charts, and the local stack.

Used from the source tree, never shipped.
"""
