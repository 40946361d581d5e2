"""A Django app with the object class that the suite asks, importable by every process."""
