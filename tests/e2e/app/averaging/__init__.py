"""A small Flower app: federated averaging of a mean, in NumPy.

It uses no package of ours, and only the API that Flower 1.13 and 1.41 share.
"""
