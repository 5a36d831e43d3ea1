"""What lies beside the facts, ends before they do, and may be lost: no fold reads it, and nothing is decided by it.

traces   of which request and in which trace each fact came to be, for 30 days
"""
