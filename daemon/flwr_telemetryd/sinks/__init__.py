"""Where bodies go: one method, ``send``, behind which every outside world stands."""
