"""drtool keeps every restic repository as provably equal copies on different media."""

__version__ = "0.1.0"
