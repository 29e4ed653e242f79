"""The embedded experiment: generated stand-ins for MT-bench, GSM8K and XSum, and their target.

Nothing here claims to be a real question set. The generators exist so that the whole comparison
runs, and can be checked, on a laptop without a network.
"""
