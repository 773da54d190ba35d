"""A signal, or a fork, at the very moment in which the first event loads a module that it needs."""

import pytest

from tests.support import homes, processes, wire
from tests.support.processes import NEVER

AT_THE_MOMENT = """
import importlib.util, signal, threading
module = sys.argv[1]

class Moment:
    done = False

    def find_spec(self, name, path=None, target=None):
        if name != module or self.done:
            return None
        self.done = True
        spec = importlib.util.find_spec(name)
        real = spec.loader.exec_module
        spec.loader.exec_module = lambda loaded: (at_the_moment(), real(loaded))[1]
        return spec

sys.modules.pop(module, None)  # where something else has loaded it already
sys.meta_path.insert(0, Moment())
"""
SIGNAL = """
signal.signal(signal.SIGUSR1, lambda *_: print(outcome(event("PING", {"n": 1}))))
at_the_moment = lambda: os.kill(os.getpid(), signal.SIGUSR1)
for n in (0, 2):
    print(outcome(event("PING", {"n": n})))
"""
# As in every process that has loaded NumPy: the system may give the signal to another thread than that of
# the import, and Python runs the handler in the main thread all the same.
SIGNAL_BESIDE_A_THREAD = f"""
threading.Thread(target=threading.Event().wait, daemon=True).start()
{SIGNAL}
"""
FORK = """
now, go_on = threading.Event(), threading.Event()
at_the_moment = lambda: (now.set(), go_on.wait())
other = threading.Thread(target=lambda: event("PING", {"n": 0}))
other.start()
now.wait(30)
threading.Timer(0.3, go_on.set).start()
child = os.fork()
if child == 0:
    print(outcome(event("PING", {"n": 1})), flush=True)
    os._exit(0)
os.waitpid(child, 0)
other.join()
print("spooled")
"""


CODES = {"signal": SIGNAL, "signal beside a thread": SIGNAL_BESIDE_A_THREAD, "fork": FORK}


@pytest.mark.parametrize("module", "redaction spool installed settings_file source home_cache".split())
@pytest.mark.parametrize("name", CODES)
def test_at_the_moment_of_an_import(home, name, module):
    """A handler does not meet half a module: its event is kept in memory until the import ends.

    A forked child does not wait for a thread that it does not have.
    """
    homes.configure(home, "http://127.0.0.1:9/")
    code = processes.PRELUDE + AT_THE_MOMENT + CODES[name]
    done = processes.run(home, ["-W", "ignore", "-c", code, f"flwr_telemetry.{module}"], NEVER)
    count = 2 if name == "fork" else 3
    assert (done.stdout, done.stderr) == ("spooled\n" * count, "")
    events = sorted(homes.spooled(home), key=lambda event: event["event_details"]["n"])
    assert wire.serials(events) == [*range(count)]
    dates = [event["context"]["date"] for event in events]
    assert name == "fork" or dates == sorted({*dates})
