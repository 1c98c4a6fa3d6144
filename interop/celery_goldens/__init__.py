"""The parts of capture.py: what is asked of the real Celery, how it is noted, and how it is made stable."""
