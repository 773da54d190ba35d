"""Writers that are interrupted: by signals at every moment, and amid their very first event."""

import pytest

from tests.support import homes, wire

EVENTS = 3000
RING = f"""
import signal
rings, over = 0, False
def ring(*_):
    global rings
    rings += 1
signal.signal(signal.SIGALRM, ring)
signal.siginterrupt(signal.SIGALRM, INTERRUPT)
signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
told = [outcome(event("PING", {{"n": i}})) for i in range({EVENTS})]
over = True
signal.setitimer(signal.ITIMER_REAL, 0)
print(json.dumps([sorted(set(told)), rings]))
"""


@pytest.mark.parametrize("interrupt", [True, False], ids=["EINTR", "restarted"])
def test_a_timer_that_never_rests(bare, home, interrupt):
    """A signal every 300 µs from before the first event on: every event is spooled, and is there once."""
    told, rings = bare.answers(home, RING.replace("INTERRUPT", str(interrupt)))
    assert told == ["spooled"]
    assert rings > 100
    assert wire.serials(homes.spooled(home)) == list(range(EVENTS))


def test_a_timer_whose_handler_emits(bare, home):
    """Handlers that emit at every moment of the outer event, also amid its imports: each is there once."""
    handler = """    rings += 1
    inner.append(outcome(event("PING", {"n": -rings})))
    if not over:  # again, but not before this one is through
        signal.setitimer(signal.ITIMER_REAL, 0.001)
"""
    code = RING.replace("INTERRUPT", "True").replace("    rings += 1\n", handler)
    code = code.replace("0.0003, 0.0003", "0.001").replace("set(told)), rings", "set(told)), inner")
    told, inner = bare.answers(home, f"inner = []\n{code}")
    numbers = wire.serials(homes.spooled(home))
    assert (told, set(inner)) == (["spooled"], {"spooled"})
    assert numbers == list(range(-len(inner), EVENTS))
