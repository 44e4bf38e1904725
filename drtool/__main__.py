"""``python -m drtool``: the same as the ``drtool`` command."""

from drtool.cli import main

main()
