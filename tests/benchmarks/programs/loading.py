"""Run a program, and print how many modules it has loaded: ``python loading.py PROGRAM ARGUMENT…``."""

import atexit
import sys

sys.argv.pop(0)
__file__ = sys.argv[0]
atexit.register(lambda: print(len(sys.modules), file=sys.__stdout__))
with open(__file__, encoding="utf-8") as file:
    exec(compile(file.read(), __file__, "exec"))  # as Python runs a script, without a module more
