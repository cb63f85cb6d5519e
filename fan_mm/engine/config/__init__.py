"""Other people's configs: read, checked for impossible values, their parts found and built.

Every mistake is reported in one line with its location: an error in the file, an invalid value, or an
exception of mmengine, torch or a user's own class while a part is built.
"""
