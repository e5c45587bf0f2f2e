"""`python -m hub_instructpt` is `hub-instructpt`."""

from hub_instructpt.cli import main

main()
