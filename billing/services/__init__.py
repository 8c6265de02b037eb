"""Use cases: they write, and they call the gateways they are given."""
