"""The Delta tables of the lake: layout, data files, commits, partitions."""
