"""Inventories of other systems: read, never written to, and not believed.

Each gives the devices that it has and that are RouterOS, the logins that they share, and a list of all else that it
says. No value of theirs, but for names, is ever put into a message: a column that slipped may hold a password.
"""
