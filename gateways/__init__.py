"""Adapters: one file per gateway, named as the provider spells itself."""
