"""Work that takes long: on all cores, and kept so that a kill loses little.

cores        pieces of work, by a process to each core
children     these processes: none outlives its parent, and one that was killed is named
whole_files  small files that are there whole or not at all
"""
