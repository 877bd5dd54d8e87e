"""Verbs: what a migration does, as functions over a source and a target of any engine."""
