"""PostgreSQL: the truth. Engine, tables, and one repository a noun."""
