"""Other people's configs: read, held against what none can have, their parts found and built.

What is wrong in one is said in one line, with its place: of the file, of a value, or of what
mmengine, torch or a user's own class says while a part is built.
"""
