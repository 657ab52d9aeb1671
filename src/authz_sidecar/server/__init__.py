"""Floor 11: processes: what `serve` runs, made of engine, sources and transports.

One process answers checks alone (`alone`), or several answer on one port and a supervisor watches the policies for
them all (`supervisor`, `worker`).
"""
