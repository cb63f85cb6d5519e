"""Other people's configs: read, checked for impossible values, their parts found and built.

What is wrong in one is said in one line, with its place: of the file, of a value, or of what
mmengine, torch or a user's own class says while a part is built.
"""
