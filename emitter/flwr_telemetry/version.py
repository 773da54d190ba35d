"""The one place that knows the version of this distribution."""

__version__ = "0.1.0"
"""The public version. Requests name it alone, because a commit of one's own would tell who one is."""

COMMIT = ""
"""``g`` and the commit, in a wheel that was built from a repository; see ``emitter/hatch_build.py``."""

BUILD = f"{__version__}+{COMMIT}" if COMMIT else __version__
"""The version of the distribution, which tells two commits apart."""


def described(program: str) -> str:
    """A program's name and version."""
    return f"{program} {BUILD}"
