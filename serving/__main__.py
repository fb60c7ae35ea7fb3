"""`python -m serving`: the `admint` command where no script is installed."""

from serving.cli.main import main

main()
