"""The command line: thin words around `titrant.fit`, `Run` and `Recipe`, a module for each command.

Errors that a person can mend are printed as one message on stderr, without a traceback, and the exit code is 2. Words come at
once: what is heavy to import is imported by the command that needs it.
"""

from titrant.cli import (  # noqa: F401  commands join by being imported
    checkup,
    claims,
    diagnose,
    explain,
    export,
    find,
    fit,
    hardware,
    predict,
    recipe,
    report,
    runs,
    serve,
    studies,
)
from titrant.cli.app import app, main

__all__ = ["app", "main"]
