"""One file per kind of data: its configuration and the data set that it opens."""
