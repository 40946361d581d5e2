"""A Django app with the objects that only the chaos instrument needs, and the faults that only a process can do to itself."""
