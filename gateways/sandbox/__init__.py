"""Simulators that speak each gateway's real protocol over real sockets; imported by nobody."""
