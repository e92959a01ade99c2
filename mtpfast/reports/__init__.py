"""From a table to an answer: the audit, its report, and the files that it is written to."""
