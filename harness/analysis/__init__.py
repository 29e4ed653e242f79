"""Makes the tables from rows and the other files of a run; torch is never imported here."""
