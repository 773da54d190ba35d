"""The sidecar as a service of this user's systemd: put in place, looked at, taken away.

    units.py       which units there are, and where they lie
    needs.py       what the service needs on this machine: program, directories, variables
    render.py      the text of a unit: pure
    seal.py        whose text it is: ours, edited, somebody else's
    present.py     what is there already, and whether it may be changed
    systemctl.py   the user's manager, and logind
    install.py     put in place, take away
    view.py        how it stands
    waiting.py     until it stands well, or surely does not
    logs.py        what it said

The sidecar itself knows nothing of this. This room must never overwrite or remove a file that is not
surely as we wrote it, and never start anything where telemetry is off.
"""
