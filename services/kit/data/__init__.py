"""PostgreSQL: reads and writes, hot writes in one statement, pages, the kit's own tables and their migrations."""
