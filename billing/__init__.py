"""Recurring billing: the domain, which knows no gateway by name."""
