"""MikroTik RouterOS 3 to 7."""
