"""The report of many runs of one data set."""
