"""Tables -> figures -> PDFs. Pure functions of files; torch is never imported here."""
