"""A QStash-compatible server: accepts messages and schedules, delivers them as signed HTTP calls.

It runs on one machine, keeps its state in one SQLite file and needs no account anywhere. Start it
with ``python -m qstash_server``; README.md in this folder says how to point a client at it.
"""
