"""What a quarter of an hour on a GPU is for: `run.sh` measures all of it (README.md beside this)."""
