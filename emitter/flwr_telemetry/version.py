"""The one place that knows the version of this distribution."""

__version__ = "0.1.0"


def described(program: str) -> str:
    """A program's name and version, and the commit if it was installed from a repository."""
    import json
    from importlib import metadata

    commit = ""
    try:
        origin = json.loads(metadata.distribution("flwr-telemetry").read_text("direct_url.json") or "{}")
        commit = origin.get("vcs_info", {}).get("commit_id", "")
    except (metadata.PackageNotFoundError, ValueError, AttributeError, OSError):
        pass  # it runs from a directory or an archive, which tells no commit
    return f"{program} {__version__}{f' (commit {commit[:12]})' if commit else ''}"
