"""Tools that tests share; nothing here imports the project."""
