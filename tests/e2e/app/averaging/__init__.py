"""A small Flower app: federated averaging of a mean, in NumPy. Knows nothing of us.

Written against what Flower 1.13 and 1.41 have in common.
"""
