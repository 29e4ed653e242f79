"""What an experiment is: its config, its folder, the arguments of its steps, and their records.
Plain types without torch, for the workflow, the measurement and the analysis alike.
"""
