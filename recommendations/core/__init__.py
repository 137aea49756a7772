"""Learning from actions and ranking items: numpy arrays in, numpy arrays out.

Users and items are row numbers here; who calls maps its own ids to rows. Nothing in this package
knows Django, Redis or SQL. docs/recommending.md says how the parts fit together.
"""
