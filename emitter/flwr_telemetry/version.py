"""The one place that knows the version of this distribution."""

__version__ = "0.1.0"
"""In a wheel that was built from a repository it names the commit, too; see ``emitter/hatch_build.py``."""


def described(program: str) -> str:
    """A program's name and version."""
    return f"{program} {__version__}"
