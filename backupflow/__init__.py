"""backupflow tells a network operator what changed on a router and when."""
