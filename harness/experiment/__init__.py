"""What an experiment is: its config, its folder, what each step is given, and the records that it
leaves. Plain types without torch, for the workflow, the measurement and the analysis alike.
"""
