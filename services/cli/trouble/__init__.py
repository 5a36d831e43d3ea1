"""Commands for when something is wrong.

halted   teams for which some work goes wrong
resume   a store that went back in time, a copy of one
trail    what came of one request, or of what is in one trace
"""
