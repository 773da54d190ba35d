"""The sidecar as a service of the user's systemd, or of launchd: install, uninstall, status, logs.

In:    a home, its settings, and the environment of the person who asks.
Out:   result objects that the command line prints.
Owns:  the units and their drop-ins below ``~/.config/systemd/user``; on macOS the agent in
       ``~/Library/LaunchAgents``.
Never: overwrites or removes a unit that another program wrote or a user edited; starts a service while
       telemetry is off. The sidecar does not import this package.

    install.py    install and uninstall
    status.py     state of the service, waiting for it, its log
    protection.py the settings that a machine cannot keep, found by trying
    unit.py       names, texts and authors of the units; what an install has changed
    machine.py    the values of this machine that a unit needs
    systemctl.py  systemd's own programs
    launchd.py    install, uninstall and state on macOS
    agent.py      name, text and author of the agent
    launchctl.py  launchd's own program
    programs.py   runs such programs
"""
