"""Out of the database: exports that other tools read, and archives of closed months that stand for the log.

columns    what a table is made of, in every format
files      writing and reading a file of a format
parquet    Parquet, where pyarrow is installed
spans      what is asked for, as positions of each shard; the note that signs them
tables     the rows of each kind of export
views      the views of analysts, in one snapshot
manifest   what an export says of itself
exporting  an export, shard by shard, to be taken up again after a kill
folders    an export in a folder: its manifest and files, and the next one
checking   an export against itself and the note, without a database
archive    a closed month
replaying  archives folded, shard by shard
"""
