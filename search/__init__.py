"""Studies: configuration, search, scoring, selection, records and the command line."""
