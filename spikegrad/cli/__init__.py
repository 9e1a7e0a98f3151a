"""The command line: arguments, one call, what came of it. `main.py` lists the commands."""
