"""Windows' own versions of functions of ``system.py``, which imports every public name from here.

files.py        opens, locks, renames and deletes files that other processes may have open
users.py        the user's names, and the owner of the site's file
processes.py    checks, ends and starts processes
api.py          the functions and numbers of Windows that the others need
"""

from .files import *  # noqa: F403
from .processes import *  # noqa: F403
from .users import *  # noqa: F403

IS_SUPPORTED = True
