"""Everything that survives a restart: one SQLite file and the functions that read and write it."""
