"""The HTTP API: one module per resource, one for who may ask, one for how faults are said. Doors.

Rules of this package: a route reads the request, calls, answers. What is right is decided in pure modules
(`documents`, `keys`, `pals`), what is kept in `store`.
"""
