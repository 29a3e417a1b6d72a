"""Scripts that every rank of a group runs. A folder of their own: Python puts a script's folder first on sys.path."""
