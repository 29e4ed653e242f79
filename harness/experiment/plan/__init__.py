"""What the rules of the workflow ask of an experiment: files to wait for, and what jobs are given.

Methods named ``..._json`` give arguments of a job's command line. Only what a step depends on is in
what it is given, so that changing one setting re-runs only what it can change.
"""
