"""A writer of the spool that is watched."""


class ToldWriter:
    """A writer, with counters of its calls for consent and at each opened segment, or look at the spool."""

    def __init__(self, kind, host, **options):
        self.host = host
        self.may = True
        self.asked = self.opened = 0
        self.writer = kind(host, self._may_create, self._on_open, **options)

    def _may_create(self):
        self.asked += 1
        return self.may

    def _on_open(self):
        self.opened += 1

    def append(self, frame, cap_bytes=1e9):
        self.writer.append(frame, cap_bytes)
