"""Functional core: values in, values out; the time, ids and settings are arguments."""
