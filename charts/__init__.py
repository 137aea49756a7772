"""Charts as SVG paths, drawn on the server: no script, nothing to load, nothing inline."""
