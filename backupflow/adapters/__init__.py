"""Imperative shell: one outside world each, strangers to one another; foreign errors become ours here."""
