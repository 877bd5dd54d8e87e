"""Nouns: frozen data that every layer shares. Nothing here talks to a server."""
