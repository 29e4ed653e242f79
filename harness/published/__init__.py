"""Published answer files of other harnesses, analysed again."""
