"""The engine as a process: sockets, the step loop, the progress page, faults, and how it ends."""
