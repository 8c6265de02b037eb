"""The simulators, seen from outside: raw HTTP and XML written by hand."""
