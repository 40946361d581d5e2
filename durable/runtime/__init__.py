"""One process's objects: the class they are written as, and how each is activated, fed with events and put to sleep."""
