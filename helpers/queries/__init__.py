"""What a Recording answers: tables, found events, the source of a function, the differences of two."""
