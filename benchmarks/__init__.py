"""The project against its peers: ratios in one run, content checked every time."""
