"""The grammars of what clients write: destinations, durations, cron, retry delays."""
