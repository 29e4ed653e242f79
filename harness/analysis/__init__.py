"""Rows -> tables. Pure functions of files; torch is never imported here."""
