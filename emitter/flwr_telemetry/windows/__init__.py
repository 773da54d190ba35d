"""The functions of ``system.py`` that Windows needs otherwise; that module takes over each public name.

files.py        files: opened, locked, renamed and deleted beside others that have them open
users.py        who the user is, by which names, and whose the site's file is
processes.py    processes: looked at, ended, and started so that they outlive this one
api.py          the functions and the numbers of Windows that the others need
"""

from .files import *  # noqa: F403
from .processes import *  # noqa: F403
from .users import *  # noqa: F403

IS_SUPPORTED = True
