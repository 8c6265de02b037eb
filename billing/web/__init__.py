"""Entrances: what is reached over HTTP."""
