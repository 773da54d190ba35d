"""Edits of Python files by their syntax trees, in the style of Flower's formatters; for ``embed.py``."""

import ast

WIDTH = 88
"""The longest line in Flower's repository."""


class StructureError(Exception):
    """A file is not as this program expects it."""

    def __init__(self, path, expected):
        super().__init__(f"{path}: expected {expected}; nothing was changed")


class Source:
    """The text of a Python file, its syntax tree, and the edits to come."""

    def __init__(self, path):
        self.path = path
        self.text = path.read_text(encoding="utf-8")
        self.lines = self.text.splitlines()
        self.tree = ast.parse(self.text)
        self.parents = {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}
        self._edits = []

    def replace(self, node, lines=()):
        """Replace the lines of a statement. If no line is left, its comment and a blank line go, too."""
        first, last = node.lineno - 1, node.end_lineno
        if not lines:
            first = self.comment_above(first)
            if self.lines[first - 1 : first] == [""] == self.lines[last : last + 1]:
                last += 1
        self._edits.append((first, last, list(lines)))

    def comment_above(self, first):
        """The first of the comment lines that stand right above a line."""
        while first and self.lines[first - 1].lstrip().startswith("#"):
            first -= 1
        return first

    def edited(self):
        """The text with all edits."""
        lines = [*self.lines]
        for first, last, new in sorted(self._edits, reverse=True):
            lines[first:last] = new
        return "\n".join([*lines, ""])


def only_target(node):
    targets = getattr(node, "targets", None) or [getattr(node, "target", None)]
    return targets[0].id if len(targets) == 1 and isinstance(targets[0], ast.Name) else None


def without_unused_imports(text, path):
    """The text without the names that are imported and not used; and the names that it was changed for."""
    tree, lines, unused = ast.parse(text), text.splitlines(), set()
    before = Source(path)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    gone = {node.id for node in ast.walk(before.tree) if isinstance(node, ast.Name)} - used
    for node in reversed(tree.body):
        if not isinstance(node, (ast.Import, ast.ImportFrom)):
            continue
        names = {alias.asname or alias.name for alias in node.names}
        if names & gone:
            unused |= names & gone
            own = "\n".join(lines[node.lineno - 1 : node.end_lineno])
            if "#" in own:
                raise StructureError(f"{path}, line {node.lineno}", "an import without a comment")
            rest = narrowed(node, names - gone)
            lines[node.lineno - 1 : node.end_lineno] = [rest] if rest else []
    return "\n".join([*lines, ""]), unused


def narrowed(node, names):
    """The text of an import of only these names, as Flower's formatters write it; empty if none is left."""
    aliases = [alias for alias in node.names if (alias.asname or alias.name).split(".")[0] in names]
    parts = [ast.unparse(alias) for alias in aliases]
    if not parts:
        return ""
    if isinstance(node, ast.Import):
        return "\n".join(f"import {part}" for part in parts)
    start = f"from {'.' * node.level}{node.module or ''} import "
    line = start + ", ".join(parts)
    return line if len(line) <= WIDTH else "\n".join([f"{start}(", *(f"    {part}," for part in parts), ")"])


def dotted_name(package, path):
    parts = [package.name, *path.relative_to(package).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(source, package):
    """The modules and names that a file imports, with the names that it gives them."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom):
            inside = dotted_name(package, source.path.with_name("__init__.py")).split(".")
            parts = inside[: len(inside) - node.level + 1] if node.level else []
            module = ".".join([*parts, *filter(None, [node.module])])
            yield from ((module, alias.name, alias.asname or alias.name) for alias in node.names)
