"""The inverse on a CPU: weights packed once, products of our own or oneDNN's, and one thread team for all of it."""
