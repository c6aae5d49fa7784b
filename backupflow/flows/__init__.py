"""Use cases: plain functions over the ports, each returns an outcome value; no framework."""
