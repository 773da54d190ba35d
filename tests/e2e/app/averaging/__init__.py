"""A small Flower app in NumPy that uses only the API that Flower 1.13 and 1.41 share."""
